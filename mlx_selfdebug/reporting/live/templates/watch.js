"use strict";
(() => {
  const LOOK_MS = 2000;
  const FIRST_LOOK_MS = 500;
  const lost = document.getElementById("lost");
  const waiting = new Map();
  let version = document.body.dataset.version;
  let timer = 0;
  let isLooking = false;

  // A part stays as it is while the reader has the focus or a selection in it. What has changed is shown afterwards.
  const isInUse = (part) => {
    const selection = document.getSelection();
    const isSelected = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
    return isSelected || part.contains(document.activeElement);
  };
  const ownName = (details) => details ? details.querySelector("summary").textContent : "";
  const nameOf = (details) => `${ownName(details.parentElement.closest("details"))}/${ownName(details)}`;
  const show = (name, html) => {
    const part = document.getElementById(`part-${name}`);
    const opened = new Set([...part.querySelectorAll("details[open]")].map(nameOf));
    const scrolled = [...part.querySelectorAll(".wide, .chart")].map((region) => region.scrollLeft);
    const values = new Map([...part.querySelectorAll("input, select")].map((field) => [field.id, field.value]));
    part.innerHTML = html;
    part.hidden = !html;
    for (const details of part.querySelectorAll("details")) details.open = opened.has(nameOf(details));
    part.querySelectorAll(".wide, .chart").forEach((region, i) => { region.scrollLeft = scrolled[i] || 0; });
    for (const field of part.querySelectorAll("input, select")) field.value = values.get(field.id) ?? field.value;
  };
  const look = async () => {
    if (isLooking) return;
    isLooking = true;
    clearTimeout(timer);
    try {
      const answer = await fetch(`changes?since=${version}`);
      if (!answer.ok) throw new Error(answer.statusText);
      const changes = await answer.json();
      version = changes.version;
      document.title = changes.title;
      for (const [name, html] of Object.entries(changes.parts)) waiting.set(name, html);
      lost.hidden = true;
    } catch {
      lost.hidden = false;
    }
    for (const [name, html] of [...waiting]) {
      if (isInUse(document.getElementById(`part-${name}`))) continue;
      waiting.delete(name);
      show(name, html);
      document.dispatchEvent(new Event("replaced"));
    }
    isLooking = false;
    if (!document.hidden) timer = setTimeout(look, LOOK_MS);
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  timer = setTimeout(look, FIRST_LOOK_MS);
})();
