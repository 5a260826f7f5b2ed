//! The look at a source, ten times a second: whether its threads live, audio comes, and what is
//! wrong with it.

use std::time::Instant;

use super::Source;
use crate::engine::flow::Found;
use v2m_client::status::FindingStatus;
use v2m_dsp::health::{Channel, Facts};
use v2m_ring::State;
use v2m_ring::time::monotonic_ns;

/// Without audio for so long, it is known why.
const KNOWN_NS: i64 = 1_500_000_000;
/// So many looks in vain for the ingest: whoever has it doesn't give it back.
const STUCK: u32 = 20;

impl Source {
    /// To be called ten times a second or more often.
    pub(in crate::engine) fn look_after(&mut self) {
        let now = monotonic_ns();
        for stream in &mut self.streams {
            stream.heartbeat(now);
        }
        self.ingest.prepare();
        self.follow_demand();
        self.end_unwanted(Instant::now());
        if self.is_idle() {
            self.ingest.wipe();
        } else if self.backend.is_live() {
            self.ingest.fill(now);
        }
        let health = self.health();
        self.shared.now().health = health;
        self.watch_calls();
        self.watch_flow(now);
        self.watch_end();
        let blocks = self.ingest.blocks();
        self.barred = match self.barred.1 != blocks || self.ingest.is_free() {
            true => (0, blocks),
            false => (self.barred.0 + 1, blocks),
        };
    }

    /// The machine slept for so many nanoseconds.
    pub(in crate::engine) fn slept(&mut self, ns: i64) {
        let now = monotonic_ns();
        for stream in &mut self.streams {
            stream.slept(ns, now);
        }
        // If it can't be, the thread that is at it writes just now; the record is there.
        self.ingest.slept(now);
    }

    /// Whether its own threads work.
    pub(in crate::engine) fn is_well(&self) -> bool {
        self.barred.0 < STUCK
    }

    /// Looks for calls into libraries that don't return, and says so.
    fn watch_calls(&mut self) {
        let hanging = self.backend.hanging();
        let mut now = self.shared.now();
        self.backend.describe(&mut now.source);
        now.source.channels = self.channels.status();
        if let (None, Some(what)) = (&now.hanging, &hanging) {
            tracing::warn!("{what}");
        }
        now.hanging = hanging;
    }

    /// Looks whether audio comes, and says so.
    fn watch_flow(&mut self, now_ns: i64) {
        let (state, linked) = {
            let now = self.shared.now();
            (now.state, now.source.linked.clone())
        };
        let due = state == State::Running && !self.is_idle() && self.backend.keeps_time();
        let seconds = |ns: i64| ns as f64 / 1e9;
        match self.flow.look(now_ns, self.ingest.blocks(), due) {
            Found::Nothing => {}
            Found::Stopped => self.backend.ask(),
            Found::Resumed(ns) => {
                tracing::info!("audio comes again after {:.1} s without", seconds(ns));
            }
            Found::Frozen(ns) => tracing::warn!(
                "this process stood still for {:.1} s: it was stopped, or its machine too busy",
                seconds(ns)
            ),
        }
        let silent_ns = self.flow.silent_ns(now_ns);
        let silent = (self.flow.is_stopped() && silent_ns >= KNOWN_NS).then(|| {
            let source = linked.unwrap_or_default();
            format!("{source} gives no audio: {}", self.backend.why_silent())
        });
        let newly = {
            let mut now = self.shared.now();
            let newly = silent.clone().filter(|_| now.silent.is_none());
            now.silent = silent;
            newly
        };
        if let Some(why) = newly {
            tracing::warn!("{why}");
        }
        self.publish_state();
    }

    /// Announces the end once the last windows are judged.
    fn watch_end(&mut self) {
        let Some(limit) = self.ending else { return };
        if self.shared.track.is_drained() || Instant::now() >= limit {
            self.ending = None;
            self.set_state(State::Ended);
        }
    }

    /// What is wrong with it. What isn't captured is neither well nor ill.
    fn health(&mut self) -> Vec<FindingStatus> {
        let state = self.shared.now().state();
        if !matches!(state, State::Running | State::Ended) {
            self.health.forget();
            return Vec::new();
        }
        let mute = self.backend.mute();
        let channels = self.channels.status();
        let channels: Vec<Channel> = channels.iter().map(Channel::from).collect();
        let facts = Facts {
            mute: mute.as_ref(),
            channels: &channels,
        };
        self.health
            .look(&facts)
            .iter()
            .map(FindingStatus::from)
            .collect()
    }
}
