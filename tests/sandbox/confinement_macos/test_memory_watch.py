"""Who is killed for memory, and when to look again, by a clock that is only a number."""

from __future__ import annotations

import math

from mlx_selfdebug.sandbox.confinement.memory_watch import FAR_S, MAX_FAILED_LOOKS, NEAR_S, MemoryWatch

MIB = 1 << 20


def test_nothing_is_due_without_processes() -> None:
    watch = MemoryWatch()
    assert watch.due == math.inf
    assert watch.look(1.0, {}).over == ()
    assert watch.due == math.inf


def test_a_new_process_is_looked_at_at_once() -> None:
    watch = MemoryWatch()
    watch.add(7, 100 * MIB)
    assert watch.due < 0
    assert watch.pids == (7,)


def test_who_exceeds_the_budget_is_over_and_others_are_not() -> None:
    watch = MemoryWatch()
    watch.add(7, 100 * MIB)
    watch.add(8, 100 * MIB)
    assert watch.look(1.0, {7: 100 * MIB, 8: 100 * MIB + 1}).over == (8,)


def test_who_was_over_once_stays_over() -> None:
    watch = MemoryWatch()
    watch.add(7, 100 * MIB)
    watch.look(1.0, {7: 101 * MIB})
    assert watch.look(1.01, {7: MIB}).over == (7,)


def test_the_baseline_comes_on_top() -> None:
    watch = MemoryWatch(baseline_bytes=50 * MIB)
    watch.add(7, 100 * MIB)
    assert watch.look(1.0, {7: 150 * MIB}).over == ()
    assert watch.look(1.0, {7: 151 * MIB}).over == (7,)


def test_looks_are_closer_once_half_the_budget_is_taken() -> None:
    watch = MemoryWatch()
    watch.add(7, 100 * MIB)
    watch.look(1.0, {7: 50 * MIB})
    assert watch.due == 1.0 + FAR_S
    watch.look(2.0, {7: 51 * MIB})
    assert watch.due == 2.0 + NEAR_S


def test_who_cannot_be_measured_is_unmeasured_not_over() -> None:
    watch = MemoryWatch()
    watch.add(7, 100 * MIB)
    all_findings = [watch.look(float(look), {7: 0}) for look in range(MAX_FAILED_LOOKS)]
    assert [findings.unmeasured for findings in all_findings] == [()] * (MAX_FAILED_LOOKS - 1) + [(7,)]
    assert not any(findings.over for findings in all_findings)
    assert watch.look(99.0, {7: MIB}).unmeasured == ()


def test_who_was_over_and_is_dead_but_not_reaped_is_not_unmeasured() -> None:
    watch = MemoryWatch()
    watch.add(7, 100 * MIB)
    watch.look(0.0, {7: 101 * MIB})
    all_findings = [watch.look(float(look), {7: 0}) for look in range(2 * MAX_FAILED_LOOKS)]
    assert {findings.unmeasured for findings in all_findings} == {()}


def test_a_removed_process_leaves_its_peak_and_is_watched_no_more() -> None:
    watch = MemoryWatch()
    watch.add(7, 100 * MIB)
    watch.look(1.0, {7: 30 * MIB})
    watch.look(2.0, {7: 20 * MIB})
    assert watch.remove(7) == 30 * MIB
    assert (watch.pids, watch.due) == ((), math.inf)
    assert watch.remove(7) == 0


def test_a_number_used_again_starts_anew() -> None:
    watch = MemoryWatch()
    watch.add(7, 100 * MIB)
    watch.look(1.0, {7: 200 * MIB})
    watch.add(7, 100 * MIB)
    assert watch.look(2.0, {7: MIB}).over == ()
