"""Make tables of records, one of Macs and one of everything else.

The bounds that arithmetic gives for a chip are shown beside what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlx_selfdebug.bench.predict import CHIPS, Prediction, chip_of, predict
from mlx_selfdebug.bench.record import Record
from mlx_selfdebug.bench.trial import StageTrials
from mlx_selfdebug.columns import columns, markdown_table

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
UNKNOWN = "-"


@dataclass(frozen=True)
class Column:
    """A column of the table of records."""

    head: str
    """The heading, with the unit."""
    cell: Callable[[Record], str]
    """Returns the cell of a record."""


def rate(stage: str, figure: str) -> Callable[[Record], str]:
    """Return a function that gives the mean and standard deviation of a stage's figure."""

    def cell(record: Record) -> str:
        trials = record.stage(stage)
        return mean_and_sd(trials.mean(figure), trials.sd(figure))

    return cell


def peak(*stages: str) -> Callable[[Record], str]:
    """Return a function that gives the peak memory of the process tree over ``stages``, in GB."""

    def cell(record: Record) -> str:
        peaks = [n for stage in stages if (n := record.stage(stage).peak())]
        return f"{max(peaks) / 1e9:.2f}" if peaks else UNKNOWN

    return cell


def energy(record: Record) -> str:
    """Return the joules of one repetition of every stage, or ``-`` if those of a stage are unknown."""
    means = [stage.mean("joules") for stage in record.stages]
    known = [mean for mean in means if mean is not None]
    return f"{sum(known):.0f}" if known and len(known) == len(means) else UNKNOWN


COLUMNS = (
    Column("load s", rate("load", "wall_s")),
    Column("prefill tok/s", rate("sample", "prefill_tokens_per_s")),
    Column("decode 1 tok/s", rate("sample", "decode_alone_tokens_per_s")),
    Column("decode 16 tok/s", rate("sample", "decode_tokens_per_s")),
    Column("test runs/s", rate("test", "runs_per_s")),
    Column("repair tok/s", rate("repair", "generated_tokens_per_s")),
    Column("train tok/s", rate("train", "train_tokens_per_s")),
    Column("evaluate s", rate("evaluate", "wall_s")),
    Column("peak GB infer", peak("sample", "repair", "evaluate")),
    Column("peak GB train", peak("train")),
    Column("energy J", energy),
)


def mean_and_sd(mean: float | None, sd: float | None) -> str:
    if mean is None:
        return UNKNOWN
    digits = 0 if mean >= 100 else 1 if mean >= 10 else 2
    return f"{mean:.{digits}f}" + ("" if sd is None else f" ± {sd:.{digits}f}")


def machine_name(record: Record) -> str:
    machine = record.machine
    gpu = f", {machine.gpu_cores}-core GPU" if machine.gpu_cores else ""
    cores = f", {machine.cores} cores" if not gpu and machine.cores else ""
    backend = "" if record.device == "metal" else f", {record.device}"
    return f"{machine.chip or machine.architecture}{gpu}{cores}, {round(machine.memory_bytes / 2**30)} GB{backend}"


def is_apple(record: Record) -> bool:
    return record.device == "metal"


def row(record: Record) -> list[str]:
    return [machine_name(record), record.model, *(column.cell(record) for column in COLUMNS), record.date]


def head() -> list[str]:
    return ["machine", "model", *(column.head for column in COLUMNS), "date"]


def tables(records: Sequence[Record]) -> str:
    """Return the records as Markdown tables.

    Apple chips have a table of their own, and below it the bounds by arithmetic. Records whose work differs from that of the newest
    record are left out and named.
    """
    newest = max(records, key=lambda record: record.date, default=None)
    others = [record for record in records if newest and record.size != newest.size]
    records = [record for record in records if record not in others]
    apple = [record for record in records if is_apple(record)]
    other = [record for record in records if not is_apple(record)]
    parts = ["### Apple chips (Metal)", _table(apple), "### Other machines", _table(other)]
    bounds = [line for record in apple if (line := _bounds(record))]
    if bounds:
        parts[2:2] = ["Measured, and the bound by arithmetic (a prediction, not a measurement):", markdown_table(
            [["machine", "decode 1 tok/s", "bound", "train tok/s", "bound"], *bounds]
        )]  # fmt: skip
    if others:
        names = "; ".join(machine_name(record) for record in others)
        parts.append(f"Measured on other work and left out, to be measured again: {names}.")
    return "\n\n".join(parts) + "\n"


def _table(records: Sequence[Record]) -> str:
    return markdown_table([head(), *map(row, records)]) if records else "None has been measured yet."


def _bounds(record: Record) -> list[str]:
    chip = chip_of(record.machine)
    if chip is None:
        return []
    bound = predict(chip, record.parameters, record.weights_bytes, gpu_cores=record.machine.gpu_cores)
    return [
        machine_name(record),
        rate("sample", "decode_alone_tokens_per_s")(record),
        f"{bound.decode_alone_tokens_per_s:.0f}",
        rate("train", "train_tokens_per_s")(record),
        f"{bound.train_tokens_per_s:.0f}",
    ]


def predictions(parameters: int, weights_bytes: int) -> list[list[str]]:
    """Return one row per chip with the bounds that its published figures allow, after a row of headings."""
    rows = [["chip", "GB/s", "TFLOP/s", "decode 1 tok/s", "train tok/s"]]
    for chip in CHIPS.values():
        bound: Prediction = predict(chip, parameters, weights_bytes)
        figures = (chip.bandwidth / 1e9, chip.flops() / 1e12, bound.decode_alone_tokens_per_s, bound.train_tokens_per_s)
        rows.append([chip.name, *(f"{value:.{digits}f}" for value, digits in zip(figures, (0, 1, 0, 0), strict=True))])
    return rows


def sheet(record: Record) -> str:
    """Return one record as text for a terminal: the cost of each stage, then the speeds that were measured in it."""
    costs = [["stage", "seconds", "tree GB", "MLX GB", "swap GB", "joules"], *map(_cost, record.stages)]
    speeds = [
        [stage.name, figure.removesuffix("_per_s").replace("_", " ") + "/s", rate(stage.name, figure)(record)]
        for stage in record.stages
        for figure in stage.trials[0].rates
    ]
    parts = [columns(costs, right=range(1, 6)), *([columns(speeds, right=[2])] if speeds else [])]
    return "\n\n".join(parts)


def _cost(stage: StageTrials) -> list[str]:
    return [
        stage.name,
        mean_and_sd(stage.mean("wall_s"), stage.sd("wall_s")),
        _gb(stage.peak()),
        _gb(stage.peak("mlx_peak_bytes")),
        _gb(stage.peak("swap_delta_bytes")),
        mean_and_sd(stage.mean("joules"), stage.sd("joules")),
    ]


def _gb(n_bytes: int | None) -> str:
    return UNKNOWN if n_bytes is None else f"{n_bytes / 1e9:.2f}"


def rewrite(text: str, records: Sequence[Record]) -> str:
    """Return ``text`` with the tables of ``records`` between its two marks. Raises ValueError unless each mark occurs once."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the marks {BEGIN} and {END} must each occur once")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{tables(records)}\n{END}{rest.partition(END)[2]}"
