//! PipeWire as a backend.

use super::Pipewire;
use crate::capture::Backend;
use v2m_client::quantum::Quantum;
use v2m_client::status::SourceStatus;
use v2m_dsp::health::Mute;

impl Backend for Pipewire {
    fn set_quantum(&self, latency: Option<Quantum>) {
        Self::set_quantum(self, latency);
    }

    fn set_together(&self, together: bool) {
        Self::set_together(self, together);
    }

    fn set_readers(&self, readers: &str) {
        Self::set_readers(self, readers);
    }

    fn set_active(&self, active: bool) {
        Self::set_active(self, active);
    }

    fn audio_thread(&self) -> Option<i32> {
        self.thread_id()
    }

    /// Also looks after its thread.
    fn describe(&self, status: &mut SourceStatus) {
        self.look_after_thread();
        let state = self.state();
        status.backend = "pipewire".into();
        status.quantum = state.quantum;
        status.rate = state.rate;
        status.server_version = state.version;
        status.missing = state.missing;
        status.scheduling = state.thread.map(|thread| thread.to_string());
    }

    /// The source's volume, if that is why nothing is heard.
    fn mute(&self) -> Option<Mute> {
        self.inaudible().map(|source| Mute {
            text: source.text(),
            remedy: source.remedy(),
        })
    }

    fn ask(&self) {
        Self::ask(self);
    }

    fn why_silent(&self) -> String {
        Self::why_silent(self).into()
    }

    fn hanging(&self) -> Option<String> {
        Self::hanging(self)
    }

    fn stop(&mut self) {
        Self::stop(self);
    }
}
