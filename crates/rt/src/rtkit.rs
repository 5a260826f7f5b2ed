//! RTKit, the desktop's broker of real-time priorities, over D-Bus.
//! Its interface: <https://gitlab.freedesktop.org/pipewire/rtkit>, `org.freedesktop.RealtimeKit1.xml`.

use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use zbus::connection::Builder;
use zbus::{Connection, Variant};

use super::{Role, limit_rttime};
use v2m_error::text;

const NAME: &str = "org.freedesktop.RealtimeKit1";
const PATH: &str = "/org/freedesktop/RealtimeKit1";

/// Asks for real-time scheduling (RTKit gives SCHED_RR) of a thread of this
/// process. Answers within `timeout`, with the reason if it is no.
pub(super) fn make_realtime(role: Role, tid: i32, timeout: Duration) -> Result<(), String> {
    within(timeout, move || zbus::block_on(ask(role, tid, timeout)))
}

/// The highest priority that RTKit gives.
pub(super) fn highest(timeout: Duration) -> Result<i32, String> {
    let highest = async move {
        let bus = system_bus(timeout).await?;
        property(&bus, "MaxRealtimePriority").await
    };
    within(timeout, move || zbus::block_on(highest)).map(|highest| highest as i32)
}

/// Runs `call` on a thread of its own: a bus may take the connection and say nothing.
fn within<T: Send + 'static>(
    timeout: Duration,
    call: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (send, receive) = sync_channel(1);
    thread::Builder::new()
        .name("v2m-rtkit".into())
        .spawn(move || send.send(call()))
        .map_err(|error| error.to_string())?;
    receive
        .recv_timeout(timeout)
        .unwrap_or_else(|_| Err(format!("no answer within {} s", timeout.as_secs_f32())))
        .map_err(|refusal| text::name(&refusal))
}

async fn system_bus(timeout: Duration) -> Result<Connection, String> {
    Builder::system()
        .method_timeout(timeout)
        .build()
        .await
        .map_err(|error| format!("no system bus: {error}"))
}

async fn ask(role: Role, tid: i32, timeout: Duration) -> Result<(), String> {
    let bus = system_bus(timeout).await?;
    let highest = property(&bus, "MaxRealtimePriority").await?;
    let max_us = property(&bus, "RTTimeUSecMax").await?;
    limit_rttime(u64::try_from(max_us).unwrap_or(0))?;
    let priority = role.priority(i32::try_from(highest).unwrap_or(1)) as u32;
    bus.call_method(
        Some(NAME),
        PATH,
        Some(NAME),
        "MakeThreadRealtime",
        &(tid as u64, priority),
    )
    .await
    .map_err(|error| error.to_string())?;
    Ok(())
}

async fn property(bus: &Connection, name: &str) -> Result<i64, String> {
    let interface = Some("org.freedesktop.DBus.Properties");
    let answer = bus
        .call_method(Some(NAME), PATH, interface, "Get", &(NAME, name))
        .await
        .map_err(|error| error.to_string())?;
    let body = answer.body();
    match body.deserialize::<Variant<'_>>() {
        Ok(Variant::I32(value)) => Ok(value.into()),
        Ok(Variant::U32(value)) => Ok(value.into()),
        Ok(Variant::I64(value)) => Ok(value),
        Ok(other) => Err(format!("{name} is no number but {other:?}")),
        Err(error) => Err(format!("{name}: {error}")),
    }
}
