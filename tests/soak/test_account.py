"""The account notices whatever is done to audio, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest

from soak.account import NS, Account, Span, World
from soak.played import GRAPH_RATE, LENGTH, Floats, Played

SECONDS = 1


@pytest.fixture(scope="module")
def world() -> World:
    return World({name: Played(name, seed) for seed, name in enumerate(("one", "two"))})


def chunks(rate: int, samples: Floats, gaps: list[range] | None = None) -> Iterator[tuple]:
    """What a reader gets of these samples, in hundredths of a second."""
    hop = rate // 100
    for at in range(0, len(samples), hop):
        flagged = any(gap.start < at + hop and at < gap.stop for gap in gaps or [])
        yield at, at * NS // rate, flagged, samples[at : at + hop]


def judged(world: World, rate: int, samples: Floats, gaps: list[range] | None = None) -> Account:
    account = Account(world, "reader", rate)
    for chunk in chunks(rate, samples, gaps):
        account.chunk(*chunk)
    account.judged()
    return account


def heard(world: World, rate: int, rng: random.Random, name: str = "one") -> Floats:
    table = world.played[name].at(rate)
    return table.take(rng.randrange(LENGTH), SECONDS * rate).copy()


RUNS = [(rate, seed) for rate in (48_000, 16_000) for seed in range(3)]


@pytest.mark.parametrize(("rate", "seed"), RUNS)
def test_what_is_whole_is_kept(world: World, rate: int, seed: int) -> None:
    """Also around a gap that is flagged, and where one source follows on another."""
    rng = random.Random(seed)
    samples = heard(world, rate, rng)
    account = judged(world, rate, samples)
    assert not account.wrong and account.tally.kept == len(samples)
    begun = samples.copy()
    begun[:30] *= np.linspace(0.1, 0.9, 30, dtype=np.float32)
    assert bool(judged(world, rate, begun).wrong) == (rate == 48_000)
    # Not so behind a gap.
    behind = samples.copy()
    behind[rate // 10 : rate // 10 + 30] *= np.linspace(0.1, 0.9, 30, dtype=np.float32)
    assert judged(world, rate, behind, [range(rate // 10)]).wrong
    gap = range(rng.randrange(rate // 4), rng.randrange(rate // 2, rate))
    samples[gap.start : gap.stop] = 0
    account = judged(world, rate, samples, [gap])
    assert not account.wrong
    assert account.tally.kept + account.tally.flagged == len(samples)
    assert len(gap) <= account.tally.flagged <= len(gap) + 2 * rate // 100
    at = rng.randrange(rate)
    both = np.concatenate([heard(world, rate, rng)[:at], heard(world, rate, rng, "two")[at:]])
    assert not judged(world, rate, both).wrong
    # Also where of the first one little is heard since a gap.
    gap, few = range(rate // 10), rng.randrange(2, 24)
    at = gap.stop + few
    both = np.concatenate([heard(world, rate, rng)[:at], heard(world, rate, rng, "two")[at:]])
    if rate != GRAPH_RATE:
        both[at : at + 41] *= np.linspace(0.1, 0.9, 41, dtype=np.float32)
    account = judged(world, rate, both, [gap])
    assert not account.wrong
    assert account.tally.kept >= len(both) - gap.stop - 41
    both[gap.stop : at] *= -1
    assert judged(world, rate, both, [gap]).wrong


@pytest.mark.parametrize(("rate", "seed"), RUNS)
def test_whatever_is_done_to_it_is_found(world: World, rate: int, seed: int) -> None:
    rng = random.Random(seed)
    whole = heard(world, rate, rng)
    at = rng.randrange(rate // 10, rate - rate // 5)
    few = rng.choice([1, 2, 30, 256, 1000])
    for samples in (
        np.delete(whole, range(at, at + few)),  # lost
        np.insert(whole, at, whole[at - few : at]),  # twice
        np.concatenate([whole[:at], np.zeros(few, np.float32), whole[at + few :]]),  # silence
        np.concatenate([whole[:at], -whole[at:]]),  # changed
        np.concatenate([whole[:at], whole[at:] * np.float32(0.99)]),
    ):
        assert judged(world, rate, samples).wrong


def test_positions_times_and_gaps_have_to_agree(world: World) -> None:
    rate, rng = GRAPH_RATE, random.Random(1)
    whole = heard(world, rate, rng)
    account = Account(world, "reader", rate)
    for position, time_ns, flagged, samples in chunks(rate, whole):
        if position != 4800:
            account.chunk(position, time_ns, flagged, samples)
    assert "position 5280 came after 4800" in account.judged()[0]
    # The same, told.
    account = Account(world, "reader", rate)
    for chunk in chunks(rate, whole):
        if chunk[0] == 4800:
            account.overrun(480)
        else:
            account.chunk(*chunk)
    assert not account.judged() and account.tally.overrun == 480
    # A gap of another length than what is missing in it.
    gap = range(9600, 14_400)
    short = np.concatenate([whole[: gap.start], np.zeros(480, np.float32), whole[gap.stop :]])
    (wrong,) = judged(world, rate, short, [range(gap.start, gap.start + 480)]).wrong
    assert "is wrong by 0.090 s" in wrong


def test_an_engine_that_ends_is_read_to_its_end(world: World) -> None:
    rate, rng = GRAPH_RATE, random.Random(2)
    first, second = heard(world, rate, rng), heard(world, rate, rng)
    for unread, wrong in ((479, 0), (480, 1)):
        ended = World(world.played, engine_ends=[NS])
        account = Account(ended, "reader", rate)
        for chunk in chunks(rate, first):
            account.chunk(*chunk)
        account.ends_at(len(first) + unread)
        for position, time_ns, _, samples in chunks(rate, second):
            account.chunk(position, time_ns + NS, position == 0, samples)
        assert len(account.judged()) == wrong


@pytest.mark.parametrize(("rate", "seed"), RUNS)
def test_what_happens_late_in_a_long_utterance_has_its_own_time(
    world: World, rate: int, seed: int
) -> None:
    rng = random.Random(seed)
    samples = heard(world, rate, rng)
    at = rng.randrange(rate // 2, rate - rate // 5)
    samples[at : at + 512] = 0
    when = at * NS // rate
    for span, wrong in ((Span(when - NS // 100, when + NS // 10), 0), (Span(0, when // 2), 1)):
        account = Account(World(world.played, silent=[span]), "reader", rate)
        account.segment(0, 0, False, samples)
        assert len(account.judged()) == wrong


def test_what_the_player_was_late_for_is_not_known(world: World) -> None:
    rate, rng = GRAPH_RATE, random.Random(3)
    index = rng.randrange(LENGTH // 2)
    samples = world.played["one"].at(rate).take(index, rate).copy()
    samples[24_000:24_256] = 0
    late = (index + 24_000, index + 24_256)
    for ns, wrong in ((NS // 2, 0), (60 * NS, 1)):
        noticed = World(world.played, late=lambda _, ns=ns: [(*late, ns)])
        account = judged(noticed, rate, samples)
        assert len(account.wrong) == wrong and account.tally.unknown == (256 if not wrong else 0)


@pytest.mark.parametrize(("stood", "wrong"), [(True, False), (False, True)])
def test_another_engine_may_hear_what_the_sound_server_kept(stood: bool, wrong: bool) -> None:
    """The one before filled in silence for as long, and was killed after that."""
    world = World({"one": Played("one", 0)}, engine_ends=[18 * NS])
    if stood:
        world.clock_stood.append(Span(3 * NS, 20 * NS))
    account = Account(world, "reader", 48_000)
    samples = heard(world, 48_000, random.Random(1))
    account.chunk(48_000, 17 * NS, True, samples[:480])
    account.chunk(0, 6 * NS, True, samples[:480])
    assert bool(account.judged()) == wrong


@pytest.mark.parametrize(("known", "wrong"), [(959, False), (960, True), (None, False)])
def test_what_a_killed_engine_had_written_is_read(known: int | None, wrong: bool) -> None:
    """Not what another wrote that came and went while the reader stood still."""
    world = World({"one": Played("one", 0)}, engine_ends=[NS])
    account = Account(world, "reader", 48_000)
    samples = heard(world, 48_000, random.Random(1))
    account.chunk(0, NS, False, samples[:480])
    account.ends_at(known)
    account.ends_at(1_000_000)
    account.chunk(0, 2 * NS, True, samples[:480])
    assert bool(account.judged()) == wrong
