//! Listens by ALSA.

use std::sync::Arc;
use std::sync::mpsc::channel;

use super::{Ears, Heard};
use crate::capture::alsa::{AlsaSource, MuteWatch, Options, Stop};
use crate::capture::channels::Channels;
use v2m_rt::bounded::Bounded;

/// Listens to this PCM; without a name to whichever there is.
pub(super) fn listen(
    options: Options,
    pcm: Option<&str>,
    channels: &Arc<Channels>,
) -> Result<Heard, String> {
    let mut source = AlsaSource::later(pcm, options).with_channels(channels.clone());
    let stop = Stop::new().map_err(|error| error.to_string())?;
    let stop = Arc::new(stop);
    let (mut ears, setup) = (Ears::new()?, source.setup());
    let watch = MuteWatch::start(setup.clone()).map_err(|error| error.to_string())?;
    let (events, received) = channel();
    let (ingest, stopped) = (ears.ingest.clone(), stop.clone());
    let mut thread = Bounded::spawn("v2m-alsa", move |calls| {
        source.note_calls(calls);
        source.capture(&*ingest, &|event| drop(events.send(event)), &stopped);
    })
    .map_err(|error| error.to_string())?;
    let source_name = ears.attend(&received);
    // These go with the PCM.
    let mute = watch.mute();
    let setup = setup.lock().ok().and_then(|setup| setup.clone());
    let channels = channels.status();
    let hanging = thread.hanging();
    stop.end();
    thread.join();
    let (rate, quantum) = setup.map_or((0, 0), |setup| (setup.rate, setup.period as u32));
    let source_name = source_name.map_err(|why| hanging.unwrap_or(why))?;
    Ok(ears.heard(source_name, rate, quantum, &channels, mute.as_ref()))
}
