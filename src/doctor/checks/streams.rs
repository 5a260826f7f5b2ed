//! The sources that the running service has open: what is captured, what was lost, how it is.

use super::{Check, Facts, remedies};
use v2m_client::status::StreamStatus;
use v2m_error::text::counted;
use v2m_ring::State;

/// More lost than one sample in so many, 60 ms in a minute, is worth a look.
const BEARABLE: u64 = 1_000;

/// A check for each source; one that says so where there is none.
pub(super) fn streams(facts: &Facts) -> Vec<Check> {
    let name = "streams";
    let streams = match &facts.service {
        None => return vec![Check::good(name, "no service runs: none is open")],
        Some(Err(reason)) => {
            let meaning = format!("the service doesn't say which are open: {reason}");
            let remedy = match (facts.systemd, &facts.unit) {
                (true, Some(_)) => remedies::RESTART_SERVICE,
                _ => remedies::KILL_SERVICE,
            };
            return vec![Check::broken(name, meaning, remedy)];
        }
        Some(Ok(service)) => &service.streams,
    };
    let mut sources: Vec<Vec<&StreamStatus>> = Vec::new();
    for stream in streams {
        let same =
            |first: &StreamStatus| first.source == stream.source && first.channel == stream.channel;
        match sources.iter_mut().find(|rates| same(rates[0])) {
            Some(rates) => rates.push(stream),
            None => sources.push(vec![stream]),
        }
    }
    let checks = sources.iter().zip(1..);
    checks
        .map(|(rates, number)| source(&format!("stream {number}"), rates))
        .collect()
}

/// One source at all its rates.
fn source(name: &str, rates: &[&StreamStatus]) -> Check {
    let first = rates[0];
    let hertz: Vec<String> = rates.iter().map(|rate| rate.rate.to_string()).collect();
    let clients: usize = rates.iter().map(|rate| rate.clients).sum();
    let what = format!("{} at {} Hz", first.source, hertz.join(", "));
    let readers = counted(clients as u64, "client");
    // What is lost at one rate is at all of them.
    let lost = match first.lost_samples {
        0 => "nothing lost".into(),
        samples => format!(
            "{} lost in {}",
            counted(samples, "sample"),
            counted(first.gaps, "gap")
        ),
    };
    if let (State::Waiting | State::Starting | State::Stopped, Some(why)) =
        (first.state, &first.waiting)
    {
        return Check::degraded(
            name,
            format!("{what}: no audio: {why}; {lost}, {readers}"),
            remedies::LIST_SOURCES,
        );
    }
    let captured = match (first.state, &first.linked) {
        (State::Idle, _) => "not captured, as nobody listens".into(),
        (State::Ended, _) => "played to its end".into(),
        (_, Some(linked)) => format!("captures {linked}"),
        _ => "starting".into(),
    };
    let meaning = format!("{what}: {captured}; {lost}, {readers}");
    if !first.health.is_empty() {
        let ill = first.health.join(", ");
        let meaning = format!("{meaning}; {ill}");
        return Check::degraded(name, meaning, remedies::WATCH_HEALTH);
    }
    if first.lost_samples > first.position / BEARABLE {
        return Check::degraded(name, meaning, remedies::WATCH_LOSSES);
    }
    Check::good(name, meaning)
}
