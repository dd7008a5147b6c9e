CREATE TABLE member (id INTEGER PRIMARY KEY, name TEXT, village TEXT, joined TEXT); -- joined: date as YYYY-MM-DD
CREATE TABLE plot (id INTEGER PRIMARY KEY, lane TEXT, area_m2 INTEGER, has_water INTEGER, member_id INTEGER); -- has_water: 0 or 1; member_id is NULL for a free plot
CREATE TABLE crop (id INTEGER PRIMARY KEY, name TEXT, kind TEXT, days_to_harvest INTEGER); -- kind: vegetable, herb, fruit or flower
CREATE TABLE planting (id INTEGER PRIMARY KEY, plot_id INTEGER, crop_id INTEGER, planted TEXT, harvested_kg REAL); -- planted: date; harvested_kg is NULL until the harvest
CREATE TABLE payment (id INTEGER PRIMARY KEY, member_id INTEGER, year INTEGER, amount INTEGER, paid TEXT); -- paid: date, NULL while it is owed
