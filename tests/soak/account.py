"""What one reader got, sample by sample, against what was played.

Outside of what is flagged every sample has to be the one that follows on the one before it, or
the first one of a stretch that begins after something flagged. What is neither is a `Break`; it is
judged at the end, when it is known what the players themselves were late for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from soak.played import ENOUGH, GRAPH_RATE, LENGTH, Floats, Place, Played

NS = 1_000_000_000
#: A player that was late is in step again after so many samples of the graph.
OUT_OF_STEP = 8192
#: What is noticed by a player reaches readers within so long, however much is being caught up.
NOTICED_NS = 3 * NS
#: So many samples at 16 kHz the resampler makes of what ends and of what begins.
SMEARED = 41
#: How far the time from one sample to another may be off by their positions where a clock other
#: than the source's had to tell it: a block of the longest quantum, and what wakes late.
TIME_IS_OFF_NS = 60_000_000


@dataclass
class Span:
    """From when to when something may have been so; CLOCK_MONOTONIC."""

    begin_ns: int
    end_ns: int = sys.maxsize


@dataclass
class World:
    """What is known of the machine, for all readers."""

    played: dict[str, Played] = field(default_factory=dict)
    #: What each source's players were late for: first and end in the loop, and when.
    late: Callable[[str], Iterable[tuple[int, int, int]]] = lambda _: ()
    #: From when to when a source was there and nothing was played into it.
    silent: list[Span] = field(default_factory=list)
    #: When an engine was killed.
    engine_ends: list[int] = field(default_factory=list)
    #: From when to when the sound server's clock may have stood still, or another one begun.
    clock_stood: list[Span] = field(default_factory=list)
    #: From when to when the graph may have put its nodes under other clocks.
    regrouped: list[Span] = field(default_factory=list)
    #: Virtual sources that bring a clock along. They hear a cycle last, and give it with the next
    #: one: where the sound server catches up without waiting for the player, cycles become longer
    #: or nodes get another clock, silence is what they themselves give.
    may_starve: frozenset[str] = frozenset()

    def within(self, spans: list[Span], from_ns: int, to_ns: int) -> bool:
        return any(span.begin_ns <= to_ns and from_ns <= span.end_ns for span in list(spans))

    def was_late(self, place: Place, from_ns: int, to_ns: int) -> bool:
        """Whether the player itself was late thereabouts."""
        for first, end, ns in self.late(place.source):
            if from_ns - NOTICED_NS <= ns <= to_ns + NOTICED_NS:
                ahead = (place.index - first + OUT_OF_STEP) % LENGTH
                if ahead <= (end - first) + 2 * OUT_OF_STEP:
                    return True
        return False


@dataclass
class Break:
    """Where what came is not what follows, and nothing says so."""

    position: int
    time_ns: int
    #: What was heard last, before anything flagged.
    source: str | None
    #: What would have followed, and what came then.
    expected: Place | None
    found: Place | None = None
    #: Samples between the two that are of no place, and whether all are zeros.
    stray: int = 0
    zeros: bool = True

    def __str__(self) -> str:
        what = "zeros" if self.zeros else "samples that were never played"
        return (
            f"at position {self.position} ({self.time_ns / NS:.3f} s) {self.stray} {what} "
            f"from {self.expected} to {self.found}"
        )


@dataclass
class Gap:
    """Something flagged that isn't as long as what is missing there."""

    position: int
    #: Of what was heard last before it and first behind it.
    before_ns: int
    time_ns: int
    found: Place
    #: By so many samples of the graph.
    off: int

    def __str__(self) -> str:
        return (
            f"the gap before position {self.position} ({self.time_ns / NS:.3f} s) is wrong "
            f"by {self.off / GRAPH_RATE:.3f} s"
        )


@dataclass
class Tally:
    """Samples of one reader, by what became of them."""

    kept: int = 0
    flagged: int = 0
    #: Something played beside it, so that it isn't the microphone as it is.
    cleaned: int = 0
    #: Overwritten before they were read, as the reader was told.
    overrun: int = 0
    #: The source was there, and silent.
    silent: int = 0
    #: The player was late, so that nobody knows what was to be heard.
    unknown: int = 0

    def add(self, other: Tally) -> None:
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Account:
    """The account of one reader; not of several threads."""

    def __init__(self, world: World, name: str, rate: int) -> None:
        self.world, self.name, self.rate = world, name, rate
        self.tally = Tally()
        self.wrong: list[str] = []
        self.breaks: list[Break] = []
        self.gaps: list[Gap] = []
        #: The reader's next position, and when it got what is before.
        self.next: int | None = None
        self.time_ns = 0
        #: The place of the next sample; None: to be found.
        self.place: Place | None = None
        self.source: str | None = None
        self.open: Break | None = None
        #: The last sample before something flagged: its position, time and place.
        self.before: tuple[int, int, Place] | None = None
        self.rest: Floats = np.zeros(0, np.float32)
        #: Time of position 0, by the first and by all chunks of one ring.
        self.origin_ns: int | None = None
        self.off_ns = 0
        #: The engine that it read was killed, and had written up to here, as far as is known.
        self.ended = False
        self.due: int | None = None

    # What happens to the reader.

    def opened(self) -> None:
        """Another reader begins in its place, wherever it does."""
        self._leave()
        self.next = self.before = self.origin_ns = self.due = None
        self.ended = False

    def overrun(self, lost: int) -> None:
        """It was told that so many samples are gone."""
        self._leave()
        self.tally.overrun += lost
        if self.next is not None:
            self.next += lost

    def chunk(
        self,
        position: int,
        time_ns: int,
        flagged: bool,
        samples: Floats,
        *,
        cleaned: bool = False,
    ) -> None:
        """The next that it got; `cleaned`: of the right length, and of other samples."""
        if self.next is not None and position != self.next:
            if flagged and self._is_anew(time_ns):
                self._end_ring(len(samples))
            else:
                self.wrong.append(
                    f"{self.name}: position {position} came after {self.next} "
                    f"({time_ns / NS:.3f} s)"
                )
            self._leave()
            self.before = self.origin_ns = None
        elif flagged or cleaned:
            self._leave()
        self._look_at_time(position, time_ns)
        self.next, self.time_ns = position + len(samples), time_ns
        if flagged:
            self.tally.flagged += len(samples)
        elif cleaned:
            self.tally.cleaned += len(samples)
        else:
            self._verify(position, time_ns, samples)

    def segment(self, position: int, time_ns: int, flagged: bool, samples: Floats) -> None:
        """An utterance that it got: what lies between two of them nobody asked for."""
        end = self.next
        self._leave()
        self.next = self.before = None
        if self._is_anew(time_ns):
            self.origin_ns = None
        elif end is not None and position < end:
            self.wrong.append(
                f"{self.name}: the utterance at {position} begins before {end}, where "
                f"the one before it ended ({time_ns / NS:.3f} s)"
            )
        self.chunk(position, time_ns, flagged, samples)

    def ends_at(self, committed: int | None) -> None:
        """The engine was killed; so much of it can be read, as far as is known, before there is
        another. One that it has not come to yet is nothing to it."""
        if self.next is not None and not self.ended:
            self.ended, self.due = True, committed

    def _end_ring(self, window: int) -> None:
        due, self.due, self.ended = self.due, None, False
        if due is not None and self.next is not None and self.next + window <= due:
            self.wrong.append(
                f"{self.name}: the engine had written up to {due}, and only {self.next} were read"
            )

    def judge(self, until_ns: int) -> None:
        """What came before that moment, for which everything is known that can be."""
        breaks, gaps = self.breaks, self.gaps
        self.breaks = [found for found in breaks if found.time_ns >= until_ns]
        self.gaps = [found for found in gaps if found.time_ns >= until_ns]
        early = [found for found in breaks if found.time_ns < until_ns]
        wrong: list[Break | Gap] = [found for found in early if not self._is_excused(found)]
        wrong += [gap for gap in gaps if gap.time_ns < until_ns and self._is_real(gap)]
        self.wrong += [f"{self.name}: {found}" for found in wrong]

    def judged(self) -> list[str]:
        """What was lost without a word, or is wrong otherwise. At the end."""
        self._leave()
        self.judge(sys.maxsize)
        return self.wrong

    # How.

    @property
    def _between(self) -> int:
        """Samples that the resampler makes of two sources where one follows on the other."""
        return 0 if self.rate == GRAPH_RATE else SMEARED

    def _is_anew(self, time_ns: int) -> bool:
        """Whether an engine was lost between what came before and this."""
        # A sound server that stood still gives what it has meanwhile afterwards: the next engine
        # may hear what is older than the end of the one before.
        spans = list(self.world.clock_stood)
        stood = [span.end_ns for span in spans if span.begin_ns <= time_ns <= span.end_ns]
        latest = max([time_ns, *stood]) + 2 * NS
        return any(self.time_ns - 2 * NS <= end <= latest for end in list(self.world.engine_ends))

    def _look_at_time(self, position: int, time_ns: int) -> None:
        origin = time_ns - position * NS // self.rate
        if self.origin_ns is None:
            self.origin_ns = origin
        self.off_ns = max(self.off_ns, abs(origin - self.origin_ns))

    def _leave(self) -> None:
        """What follows stands by itself."""
        if len(self.rest):
            # Too few to be found; they are of this place, or of none.
            self._stray(self.rest, self.next or 0, self.time_ns)
            self.rest = self.rest[:0]
        self._close(None)
        if self.place and self.next is not None:
            self.before = (self.next, self.time_ns, self.place)
        self.place = None

    def _stray(self, samples: Floats, position: int, time_ns: int) -> None:
        if self.open is None:
            self.open = Break(position, time_ns, self.source, self.place)
            self.place = None
        self.open.stray += len(samples)
        self.open.zeros &= not samples.any()

    def _close(self, found: Place | None) -> None:
        if self.open:
            self.open.found = found
            self.breaks.append(self.open)
        self.open = None

    def _verify(self, position: int, time_ns: int, samples: Floats) -> None:
        if len(self.rest):
            position -= len(self.rest)
            time_ns -= len(self.rest) * NS // self.rate
            samples = np.concatenate([self.rest, samples])
            self.rest = samples[:0]

        def time_at(at: int) -> int:
            return time_ns + at * NS // self.rate

        at = 0
        while at < len(samples):
            if self.place:
                table = self.world.played[self.place.source].at(self.rate)
                same = table.same(samples[at:], self.place.index)
                self.place = Place(self.place.source, table.after(self.place.index, same))
                self.tally.kept += same
                at += same
                if at == len(samples):
                    return
                self.open = Break(position + at, time_at(at), self.source, self.place)
                self.place = None
            if len(samples) - at < ENOUGH:
                self.rest = samples[at:].copy()
                return
            found, skipped = self._find(samples[at:])
            few = self._few(samples[at : at + skipped])
            at, skipped = at + few, skipped - few
            if skipped:
                self._stray(samples[at : at + skipped], position + at, time_at(at))
            at += skipped
            if found:
                self._close(found)
                self._compare(position + at, time_at(at), found)
                self.place, self.source = found, found.source

    def _find(self, samples: Floats) -> tuple[Place | None, int]:
        """The first place that any of them has, and how many before it have none."""
        last = len(samples) - ENOUGH
        for at in (*range(0, last, ENOUGH // 2), last):
            for name, played in self.world.played.items():
                table = played.at(self.rate)
                index = table.find(samples[at:])
                if index is not None:
                    # Those before it may be its as well.
                    back = 0
                    while back < at:
                        earlier = table.after(index, -back - 1)
                        if table.same(samples[at - back - 1 : at - back], earlier) == 0:
                            break
                        back += 1
                    return Place(name, table.after(index, -back)), at - back
        return None, last + 1

    def _few(self, skipped: Floats) -> int:
        """How many at the beginning of a stretch are the last of a source, before another follows:
        with what the resampler makes of both not enough to be found among all."""
        few = len(skipped) - self._between
        if self.open or not 0 < few < ENOUGH:
            return 0
        for name, played in self.world.played.items():
            index = played.at(self.rate).find(skipped[:few])
            if index is not None:
                self.place, self.source = Place(name, index), name
                self.tally.kept += few
                return few
        return 0

    def _compare(self, position: int, time_ns: int, found: Place) -> None:
        """A gap is as long as what is missing in it."""
        before, self.before = self.before, None
        if before is None or before[2].source != found.source:
            return
        passed = (position - before[0]) * (GRAPH_RATE // self.rate)
        off = (found.index - before[2].index - passed + LENGTH // 2) % LENGTH - LENGTH // 2
        if abs(off) * NS // GRAPH_RATE > TIME_IS_OFF_NS:
            self.gaps.append(Gap(position, before[1], time_ns, found, off))

    def _is_real(self, gap: Gap) -> bool:
        """Whether it can't be that the source's own time is another since."""
        span = (gap.before_ns, gap.time_ns)
        stood = self.world.within(self.world.clock_stood, *span)
        return not stood and not self.world.was_late(gap.found, *span)

    def _is_excused(self, found: Break) -> bool:
        length_ns = found.stray * NS // self.rate
        span = (found.time_ns, found.time_ns + length_ns)
        places = [place for place in (found.expected, found.found) if place]
        between = self._between
        if len({place.source for place in places}) == 2 and found.stray <= between:
            # Another source follows, with nothing in between but what the resampler makes of both.
            return True
        if found.expected is None and found.position + found.stray <= between:
            # A ring begins amid what its source gives: the resampler makes its first samples of
            # what comes and of the silence before. Behind a gap these are flagged.
            return True
        if found.stray and self.world.within(self.world.silent, *span):
            self.tally.silent += found.stray
            return True
        sources = {found.source, *(place.source for place in places)}
        spans = self.world.clock_stood + self.world.regrouped
        starved = sources & self.world.may_starve and self.world.within(spans, *span)
        if starved or any(self.world.was_late(place, *span) for place in places):
            self.tally.unknown += found.stray
            return True
        return False
