//! A `pw_stream` that others record from: a microphone made of samples. The adapter that
//! libpipewire puts around it does what programs expect of a source: formats, rates, a volume.
//!
//! Two threads meet in a [`Microphone`], as in a [`Filter`](crate::filter::Filter): the one of
//! the main loop, which makes and drops it and hears of changes, and PipeWire's data thread,
//! which asks for samples.

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::io::Cursor;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::{mem, slice};

use libspa::param::audio::{AudioFormat, AudioInfoRaw};
use libspa::pod::serialize::PodSerializer;
use libspa::pod::{Object, Pod, Property, Value};
use libspa::utils::Id;
use libspa_sys as spa_sys;
use pipewire::core::CoreRc;
use pipewire::properties::PropertiesBox;
use pipewire_sys as pw_sys;

use crate::{Error, ErrorKind, Result};

/// Fills a piece with samples, as bits of f32, on the data thread: no allocation, lock, log or
/// system call. Other processes may map that memory.
pub type Fill = Box<dyn FnMut(&[AtomicU32]) + Send>;

/// What has become of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody records.
    Idle,
    /// Somebody records: samples are asked for.
    Recorded,
    /// PipeWire reports an error, and why.
    Failed(String),
    /// The daemon has no such node any more: it is gone, or somebody removed the node.
    Removed,
}

/// Called on the main loop's thread, also while the microphone is dropped.
pub type Changed = Box<dyn Fn(State)>;

/// A connected source node. Lives on the main loop's thread; dropping it waits until the data
/// thread has let go.
pub struct Microphone {
    stream: NonNull<pw_sys::pw_stream>,
    // libpipewire keeps pointers to these three until the stream is destroyed. Raw, because
    // a `Box` would claim to be their only user while C and the data thread use them too.
    hook: NonNull<spa_sys::spa_hook>,
    events: NonNull<pw_sys::pw_stream_events>,
    shared: NonNull<MicrophoneShared>,
    // The stream takes itself off the core's lists when it is destroyed.
    _core: CoreRc,
}

struct MicrophoneShared {
    stream: NonNull<pw_sys::pw_stream>,
    /// The data thread's only.
    fill: UnsafeCell<Fill>,
    /// The main loop's thread's only.
    changed: Changed,
}

impl Microphone {
    /// Makes a mono node of `rate` samples per second with `properties`, whose samples come
    /// `latency_ns` after they were captured, and connects it.
    pub fn new(
        core: &CoreRc,
        name: &str,
        properties: PropertiesBox,
        (rate, latency_ns): (u32, i64),
        fill: Fill,
        changed: Changed,
    ) -> Result<Self> {
        let refused = |what: &str| {
            let cause = std::io::Error::last_os_error();
            let message = format!("PipeWire refused {what}: {cause}");
            Error::new(ErrorKind::Device, message)
        };
        let name = CString::new(name).map_err(|_| {
            let message = "the microphone's name has a NUL character: remove it";
            Error::new(ErrorKind::Invalid, message)
        })?;
        let (format, latency) = (format(rate)?, latency(latency_ns)?);

        // SAFETY: `core` is alive and `_core` keeps it so for as long as the stream exists.
        // `name` outlives the call, which copies it, and takes the properties over, whether
        // it succeeds or not.
        let stream = unsafe {
            pw_sys::pw_stream_new(
                core.as_raw_ptr().cast(),
                name.as_ptr(),
                properties.into_raw().cast(),
            )
        };
        let stream = NonNull::new(stream).ok_or_else(|| refused("a stream"))?;
        let events = pw_sys::pw_stream_events {
            version: pw_sys::PW_VERSION_STREAM_EVENTS,
            state_changed: Some(on_state_changed),
            process: Some(on_process),
            // SAFETY: the remaining fields are optional function pointers, and all-zero is
            // `None`.
            ..unsafe { mem::zeroed() }
        };
        let this = Self {
            stream,
            // SAFETY: a hook is pointers and optional function pointers; all-zero is the
            // state in which libpipewire wants it before it is added.
            hook: leak(unsafe { mem::zeroed() }),
            events: leak(events),
            shared: leak(MicrophoneShared {
                stream,
                fill: UnsafeCell::new(fill),
                changed,
            }),
            _core: core.clone(),
        };
        // SAFETY: hook, events and shared stay where they are until `drop` has destroyed the
        // stream, and nothing in Rust holds a reference to hook or events.
        unsafe {
            pw_sys::pw_stream_add_listener(
                stream.as_ptr(),
                this.hook.as_ptr().cast(),
                this.events.as_ptr(),
                this.shared.as_ptr().cast(),
            );
        }
        let flags = pw_sys::pw_stream_flags_PW_STREAM_FLAG_RT_PROCESS
            | pw_sys::pw_stream_flags_PW_STREAM_FLAG_MAP_BUFFERS;
        let mut parameters = [pod(&format)?, pod(&latency)?].map(Pod::as_raw_ptr);
        // SAFETY: the stream is alive; so many well-formed pods are passed as there are, alive
        // until the call returns, which copies them.
        let result = unsafe {
            pw_sys::pw_stream_connect(
                stream.as_ptr(),
                spa_sys::SPA_DIRECTION_OUTPUT,
                pw_sys::PW_ID_ANY,
                flags,
                parameters.as_mut_ptr().cast(),
                parameters.len() as u32,
            )
        };
        if result < 0 {
            return Err(refused("to connect the microphone"));
        }
        Ok(this)
    }

    /// The node's global id, once the daemon has given it one.
    pub fn node_id(&self) -> Option<u32> {
        // SAFETY: the stream is alive.
        let id = unsafe { pw_sys::pw_stream_get_node_id(self.stream.as_ptr()) };
        (id != spa_sys::SPA_ID_INVALID).then_some(id)
    }
}

impl Drop for Microphone {
    fn drop(&mut self) {
        // SAFETY:
        // * The stream is alive: it is destroyed here and only here, on the thread that made
        //   it, with the core still there (`_core` is dropped later).
        // * Destroying disconnects the node, which takes it off the data loop by a blocking
        //   call into that loop: no process call runs or comes after it. State changes come
        //   on this thread, and none after it.
        // * So nothing uses the three boxes any more; each came from `leak`.
        unsafe {
            pw_sys::pw_stream_destroy(self.stream.as_ptr());
            drop(Box::from_raw(self.hook.as_ptr()));
            drop(Box::from_raw(self.events.as_ptr()));
            drop(Box::from_raw(self.shared.as_ptr()));
        }
    }
}

fn leak<T>(value: T) -> NonNull<T> {
    NonNull::from(Box::leak(Box::new(value)))
}

fn format(rate: u32) -> Result<Vec<u8>> {
    let mut info = AudioInfoRaw::new();
    info.set_format(AudioFormat::F32LE);
    info.set_rate(rate);
    info.set_channels(1);
    let mut position = [0; 64];
    position[0] = spa_sys::SPA_AUDIO_CHANNEL_MONO;
    info.set_position(position);
    serialize(Object {
        type_: spa_sys::SPA_TYPE_OBJECT_Format,
        id: spa_sys::SPA_PARAM_EnumFormat,
        properties: info.into(),
    })
}

/// How long after their capture samples come, for those who ask the graph.
fn latency(ns: i64) -> Result<Vec<u8>> {
    let direction = Value::Id(Id(spa_sys::SPA_DIRECTION_OUTPUT));
    serialize(Object {
        type_: spa_sys::SPA_TYPE_OBJECT_ParamLatency,
        id: spa_sys::SPA_PARAM_Latency,
        properties: vec![
            Property::new(spa_sys::SPA_PARAM_LATENCY_direction, direction),
            Property::new(spa_sys::SPA_PARAM_LATENCY_minNs, Value::Long(ns)),
            Property::new(spa_sys::SPA_PARAM_LATENCY_maxNs, Value::Long(ns)),
        ],
    })
}

fn serialize(object: Object) -> Result<Vec<u8>> {
    PodSerializer::serialize(Cursor::new(Vec::new()), &Value::Object(object))
        .map(|(written, _)| written.into_inner())
        .map_err(|cause| Error::system("cannot write a parameter for PipeWire", cause))
}

fn pod(bytes: &[u8]) -> Result<&Pod> {
    Pod::from_bytes(bytes).ok_or_else(|| {
        let message = "a parameter for PipeWire is not one: this is a mistake of this program";
        Error::new(ErrorKind::System, message)
    })
}

unsafe extern "C" fn on_state_changed(
    shared: *mut c_void,
    _old: pw_sys::pw_stream_state,
    state: pw_sys::pw_stream_state,
    error: *const c_char,
) {
    let state = match state {
        pw_sys::pw_stream_state_PW_STREAM_STATE_UNCONNECTED => State::Removed,
        pw_sys::pw_stream_state_PW_STREAM_STATE_STREAMING => State::Recorded,
        pw_sys::pw_stream_state_PW_STREAM_STATE_PAUSED => State::Idle,
        pw_sys::pw_stream_state_PW_STREAM_STATE_ERROR if error.is_null() => {
            State::Failed("no reason given".to_owned())
        }
        pw_sys::pw_stream_state_PW_STREAM_STATE_ERROR => {
            // SAFETY: libpipewire passes a C string that lives through the call.
            let why = unsafe { CStr::from_ptr(error) };
            State::Failed(why.to_string_lossy().into_owned())
        }
        _ => return,
    };
    // SAFETY: `shared` is what `add_listener` was given, alive until the stream is destroyed;
    // `changed` belongs to this thread.
    let changed = unsafe { &(*shared.cast::<MicrophoneShared>()).changed };
    changed(state);
}

unsafe extern "C" fn on_process(shared: *mut c_void) {
    // SAFETY: `shared` is what `add_listener` was given, alive until the stream is destroyed.
    // The data thread alone calls this, one cycle after the other, and it alone uses `fill`:
    // this is the only reference to it.
    let (stream, fill) = unsafe {
        let shared = shared.cast::<MicrophoneShared>();
        ((*shared).stream, &mut *(*shared).fill.get())
    };
    // SAFETY: the stream is alive, and this is its data thread.
    let Some(buffer) = NonNull::new(unsafe { pw_sys::pw_stream_dequeue_buffer(stream.as_ptr()) })
    else {
        return;
    };
    // SAFETY: the buffer is ours until it is queued.
    if let Some(samples) = unsafe { take(buffer) } {
        fill(samples);
    }
    // SAFETY: it was dequeued above, from this stream.
    unsafe { pw_sys::pw_stream_queue_buffer(stream.as_ptr(), buffer.as_ptr()) };
}

/// The samples that a buffer is to hold; it says already that it holds them.
///
/// # Safety
/// `buffer` was dequeued and is not queued while the result is used.
unsafe fn take<'a>(buffer: NonNull<pw_sys::pw_buffer>) -> Option<&'a [AtomicU32]> {
    // SAFETY: libpipewire built the buffer and keeps it; `datas` has `n_datas` entries.
    let (data, requested) = unsafe {
        let requested = buffer.as_ref().requested;
        let buffer = NonNull::new(buffer.as_ref().buffer)?;
        let buffer = buffer.as_ref();
        if buffer.n_datas == 0 || buffer.datas.is_null() {
            return None;
        }
        (&*buffer.datas, requested)
    };
    let (start, chunk) = (data.data.cast::<AtomicU32>(), NonNull::new(data.chunk)?);
    if start.is_null() || !start.is_aligned() {
        return None;
    }
    let capacity = u64::from(data.maxsize) / size_of::<f32>() as u64;
    let count = if requested == 0 {
        capacity
    } else {
        requested.min(capacity)
    };
    // SAFETY: the buffer's own chunk, mapped as long as the buffer; a volatile store, as others
    // map it too.
    unsafe {
        chunk.write_volatile(spa_sys::spa_chunk {
            offset: 0,
            size: (count * size_of::<f32>() as u64) as u32,
            stride: size_of::<f32>() as i32,
            flags: 0,
        });
    }
    // SAFETY: `capacity` aligned words from `start` on stay mapped until the buffer is queued;
    // others may map them, so atomics.
    Some(unsafe { slice::from_raw_parts(start, count as usize) })
}
