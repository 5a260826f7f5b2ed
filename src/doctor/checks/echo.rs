//! What the running service takes off its microphone, and the microphone that it offers.

use super::super::facts::Service;
use super::{Check, Facts, remedies};
use v2m_client::status::MicrophoneState;

/// Of the source `clean`.
pub(super) fn echo(facts: &Facts) -> Check {
    let name = "echo";
    let Some(service) = service(facts) else {
        return Check::good(name, "not known: no service runs");
    };
    match &service.echo {
        None => Check::good(name, "not cancelled: the service's source isn't clean"),
        Some(echo) if echo.why.is_some() => {
            Check::degraded(name, echo.text(), remedies::CHOOSE_SINK)
        }
        Some(echo) => Check::good(name, echo.text()),
    }
}

pub(super) fn microphone(facts: &Facts) -> Check {
    let name = "microphone";
    let Some(service) = service(facts) else {
        return Check::good(name, "not known: no service runs");
    };
    let Some(microphone) = &service.microphone else {
        let how = "none is offered to other programs: v2m-engine run --virtual-microphone does";
        return Check::good(name, how);
    };
    let meaning = microphone.text();
    if microphone.why.is_some() {
        Check::degraded(name, meaning, remedies::LIST_SOURCES)
    } else if microphone.state == MicrophoneState::Recorded && microphone.missed > 0 {
        Check::degraded(name, meaning, remedies::WATCH_GRAPH)
    } else {
        Check::good(name, meaning)
    }
}

fn service(facts: &Facts) -> Option<&Service> {
    facts.service.as_ref()?.as_ref().ok()
}
