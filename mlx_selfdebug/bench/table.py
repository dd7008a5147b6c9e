"""Make tables of records: as Markdown for a page of many machines, and as text for the terminal.

On the page, Macs have a table of their own. Below it, what was measured is shown beside the bounds of ``predict.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlx_selfdebug.bench.predict import CHIPS, chip_of, predict
from mlx_selfdebug.bench.record import Record
from mlx_selfdebug.bench.trial import StageTrials
from mlx_selfdebug.columns import columns, markdown_table

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
"""The comments in a Markdown page between which the tables are written."""
UNKNOWN = "-"
"""What is shown for a figure that was not measured."""


@dataclass(frozen=True)
class Column:
    """A column of the table of records."""

    head: str
    """The heading, with the unit."""
    cell: Callable[[Record], str]
    """A function that returns the text of this column for a record."""


def rate(stage: str, figure: str) -> Callable[[Record], str]:
    """Return the function of a column that shows the mean and the standard deviation of a figure of a stage."""

    def cell(record: Record) -> str:
        trials = record.stage(stage)
        return mean_and_sd(trials.mean(figure), trials.sd(figure))

    return cell


def peak(*stages: str) -> Callable[[Record], str]:
    """Return the function of a column that shows the peak memory of the process tree over ``stages``, in GB."""

    def cell(record: Record) -> str:
        peaks = [n for stage in stages if (n := record.stage(stage).peak())]
        return f"{max(peaks) / 1e9:.2f}" if peaks else UNKNOWN

    return cell


def energy(record: Record) -> str:
    """Return the joules of one repetition of all stages together, or ``-`` if any stage has no joules."""
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
    """Return a mean with its standard deviation, such as "12.3 ± 0.4", with about three digits."""
    if mean is None:
        return UNKNOWN
    digits = 2 if mean < 10 else 1 if mean < 100 else 0
    return f"{mean:.{digits}f}" + ("" if sd is None else f" ± {sd:.{digits}f}")


def machine_name(record: Record) -> str:
    """Return what identifies a machine to a reader, such as "Apple M4, 10-core GPU, 16 GB"."""
    machine = record.machine
    gpu = f", {machine.gpu_cores}-core GPU" if machine.gpu_cores else ""
    cores = f", {machine.cores} cores" if not gpu and machine.cores else ""
    backend = "" if record.device == "metal" else f", {record.device}"
    return f"{machine.chip or machine.architecture}{gpu}{cores}, {round(machine.memory_bytes / 2**30)} GB{backend}"


def is_apple(record: Record) -> bool:
    """Return whether a record was measured on a Mac, on its GPU."""
    return record.device == "metal"


def row(record: Record) -> list[str]:
    """Return the row of a record in the table, below ``head``."""
    return [machine_name(record), record.model, *(column.cell(record) for column in COLUMNS), record.date]


def head() -> list[str]:
    """Return the headings of the table of records."""
    return ["machine", "model", *(column.head for column in COLUMNS), "date"]


def tables(records: Sequence[Record]) -> str:
    """Return the records as Markdown tables: one of Apple chips, with the bounds by arithmetic below it, and one of other machines.

    Records whose work differs from that of the newest record are left out and named.
    """
    newest = max(records, key=lambda record: record.date, default=None)
    left_out = [record for record in records if newest and record.size != newest.size]
    compared = [record for record in records if record not in left_out]
    apple = [record for record in compared if is_apple(record)]
    others = [record for record in compared if not is_apple(record)]
    parts = ["### Apple chips (Metal)", _table(apple)]
    if bounds := [cells for record in apple if (cells := _bounds_row(record))]:
        bounds_head = ["machine", "decode 1 tok/s", "bound", "train tok/s", "bound"]
        parts.append("Measured, and the bound by arithmetic (a prediction, not a measurement):")
        parts.append(markdown_table([bounds_head, *bounds]))
    parts += ["### Other machines", _table(others)]
    if left_out:
        names = "; ".join(machine_name(record) for record in left_out)
        parts.append(f"Measured on other work and left out, to be measured again: {names}.")
    return "\n\n".join(parts) + "\n"


def _table(records: Sequence[Record]) -> str:
    return markdown_table([head(), *map(row, records)]) if records else "None has been measured yet."


def _bounds_row(record: Record) -> list[str]:
    """Return the row that shows what was measured on a Mac beside the bounds, or an empty list if the chip is not known."""
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
    """Return a row of headings, then one row per chip with its published figures and the bounds that follow from them."""
    rows = [["chip", "GB/s", "TFLOP/s", "decode 1 tok/s", "train tok/s"]]
    for chip in CHIPS.values():
        bound = predict(chip, parameters, weights_bytes)
        rows.append(
            [
                chip.name,
                f"{chip.bandwidth_bytes_per_s / 1e9:.0f}",
                f"{chip.flops() / 1e12:.1f}",
                f"{bound.decode_alone_tokens_per_s:.0f}",
                f"{bound.train_tokens_per_s:.0f}",
            ]
        )
    return rows


def sheet(record: Record) -> str:
    """Return one record as text for a terminal: the cost of each stage, then the speeds that were measured in it."""
    costs = [["stage", "seconds", "tree GB", "MLX GB", "swap GB", "joules"], *map(_cost_row, record.stages)]
    speeds = [
        [stage.name, figure.removesuffix("_per_s").replace("_", " ") + "/s", rate(stage.name, figure)(record)]
        for stage in record.stages
        for figure in stage.trials[0].rates
    ]
    parts = [columns(costs, right=range(1, 6))]
    if speeds:
        parts.append(columns(speeds, right=[2]))
    return "\n\n".join(parts)


def _cost_row(stage: StageTrials) -> list[str]:
    """Return the time, the memory and the energy of a stage as cells."""
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
    """Return the page ``text`` with the tables of ``records`` between its two marks.

    Raises ValueError unless each mark occurs exactly once.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the marks {BEGIN} and {END} must each occur once")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{tables(records)}\n{END}{rest.partition(END)[2]}"
