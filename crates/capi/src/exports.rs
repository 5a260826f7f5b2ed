//! The functions of `v2m.h`, whose comments these are. Each hands what C gave to safe code, by
//! [`pointers`](crate::pointers), which says what C promises.

use std::ffi::{OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Once};

use v2m_client::locator::{Locator, Mode};
use v2m_client::ring::{Rate, Reader};
use v2m_client::{Result, engine};

use crate::failure::{self, guard, invalid};
use crate::handles::{self, Events, Segments, Stream};
use crate::pointers::{Plain, Versioned, bytes, fill, free, give, known, list, make, place, with};
use crate::reading::Limit;
use crate::types::{Chunk, Code, Echo, Engine, Event, Options, Speech, Status};

// SAFETY: numbers and addresses; the latter are only followed as C promises of them.
unsafe impl Plain for Options {}
// SAFETY: `size` is its first field.
unsafe impl Versioned for Options {}
// SAFETY: numbers.
unsafe impl Plain for Speech {}
// SAFETY: `size` is its first field.
unsafe impl Versioned for Speech {}
// SAFETY: numbers.
unsafe impl Plain for Status {}
// SAFETY: `size` is its first field.
unsafe impl Versioned for Status {}

/// The version of the library, as "0.2.0". From any thread.
#[unsafe(no_mangle)]
pub extern "C" fn v2m_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// What a v2m_code means, in a few words. From any thread.
#[unsafe(no_mangle)]
pub extern "C" fn v2m_describe(code: i32) -> *const c_char {
    failure::describe(code).as_ptr()
}

/// The text of this thread's last error: what failed, why, and what to do. Good until the
/// thread's next error. From any thread.
#[unsafe(no_mangle)]
pub extern "C" fn v2m_last_error() -> *const c_char {
    failure::last()
}

/// Fills `options` with defaults; `size` is `sizeof *options`. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_options_init(options: *mut Options, size: usize) -> Code {
    let defaults = Options {
        size,
        ..Options::default()
    };
    // SAFETY: C has so many bytes there.
    guard(|| unsafe { give(options, size, &defaults) })
}

/// Connects to an engine, or starts one, and opens a stream at its newest audio. `options` may
/// be NULL. Blocks, for some seconds if an engine has to be started. From any thread. Several
/// threads may read one stream: each chunk goes to one of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_open(options: *const Options, stream: *mut *mut Stream) -> Code {
    // SAFETY: C has an initialized structure, whose texts end with a NUL, and room for a handle.
    unsafe {
        make(stream, || {
            let options = known(options, Options::default())?;
            let locator = locator(&options)?;
            watch_forks();
            Stream::open(locator, &options)
        })
    }
}

/// What the options ask for.
///
/// # Safety
/// Their texts are NULL or end with a NUL.
unsafe fn locator(options: &Options) -> Result<Locator> {
    let utf8 = |bytes: Option<&[u8]>| -> Result<Option<String>> {
        let text = bytes
            .map(|bytes| String::from_utf8(bytes.to_owned()))
            .transpose();
        text.map_err(|_| invalid("a text of the options is not UTF-8"))
    };
    let mode = match options.engine {
        engine if engine == Engine::Auto as u32 => Mode::Auto,
        engine if engine == Engine::Service as u32 => Mode::Service,
        engine if engine == Engine::Private as u32 => Mode::Private,
        engine => return Err(invalid(format!("engine = {engine}: must be a v2m_engine"))),
    };
    // SAFETY: as promised to us.
    let [source, channel, latency, program] = unsafe {
        [
            options.source,
            options.channel,
            options.latency,
            options.program,
        ]
        .map(|text| bytes(text))
    };
    let latency = utf8(latency)?;
    Ok(Locator {
        mode,
        rate: match options.rate {
            0 => Rate::SPEECH,
            hz => Rate::new(hz)?,
        },
        source: utf8(source)?,
        channel: utf8(channel)?,
        latency: latency.as_deref().map(str::parse).transpose()?,
        program: program.map(|path| OsStr::from_bytes(path).into()),
        ..Locator::default()
    })
}

/// A forked child lets go of its parent's engines without ending them.
fn watch_forks() {
    extern "C" fn forked() {
        engine::forked();
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the function stays for as long as the library is there, which it is until
        // the process ends (it's linked so); it waits for no lock.
        unsafe { libc::pthread_atfork(None, None, Some(forked)) };
    });
}

/// Ends a stream: whoever waits for it in another thread is answered V2M_ENDED, and so is
/// every later call. Chunks of it stay. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_stream_close(stream: *const Stream) -> Code {
    // SAFETY: a handle of ours.
    unsafe {
        with(stream, |stream| {
            stream.client().close();
            Ok(Code::Ok)
        })
    }
}

/// Closes a stream and frees it. NULL is nothing. Chunks of it stay; its segments and events
/// end. No other thread may be in a call with it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_stream_free(stream: *mut Stream) {
    // SAFETY: a handle of ours, which C uses no more.
    unsafe { free(stream, |stream| stream.client().close()) }
}

/// Gives the next chunk, waiting `timeout_ns` for it at most; less than 0 is for ever. An
/// engine that is gone is looked for, or started again if it was a private one, which can take
/// some seconds more. Answers V2M_OK, V2M_PENDING, V2M_OVERRUN, V2M_ENDED, V2M_INTERRUPTED or
/// an error; only V2M_OK gives something to release. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_stream_read(
    stream: *const Stream,
    timeout_ns: i64,
    chunk: *mut Chunk,
) -> Code {
    let limit = Limit::new(timeout_ns);
    // SAFETY: a handle of ours, and room for a chunk.
    unsafe { fill(stream, chunk, |stream| stream.read(limit)) }
}

/// Gives the next chunk if it is there. Never waits. Answers V2M_OK, V2M_PENDING,
/// V2M_OVERRUN, V2M_ENDED, V2M_RECOVER or an error. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_stream_poll(stream: *const Stream, chunk: *mut Chunk) -> Code {
    // SAFETY: a handle of ours, and room for a chunk.
    unsafe { fill(stream, chunk, Stream::poll) }
}

/// Gives the newest `count` samples, whatever was read before. V2M_PENDING: there are none
/// yet. Never waits. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_stream_latest(stream: *const Stream, chunk: *mut Chunk) -> Code {
    // SAFETY: a handle of ours, and room for a chunk.
    unsafe { fill(stream, chunk, Stream::latest) }
}

/// Waits until the next read has something to answer: V2M_OK, V2M_PENDING or
/// V2M_INTERRUPTED. Takes nothing. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_stream_wait(stream: *const Stream, timeout_ns: i64) -> Code {
    let limit = Limit::new(timeout_ns);
    // SAFETY: a handle of ours.
    unsafe { with(stream, |stream| stream.wait(limit)) }
}

/// Makes one attempt to connect to an engine in place of the one that is gone. Blocks, for
/// some seconds perhaps. V2M_PENDING: try again in 100 ms. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_stream_recover(stream: *const Stream) -> Code {
    // SAFETY: a handle of ours.
    unsafe { with(stream, Stream::recover) }
}

/// The descriptor by which an event loop waits for the stream, its segments and its events, or
/// a v2m_code below 0. It is the stream's, the same from one engine to the next, and closed
/// by v2m_stream_free. Arm it, poll everything until it answers V2M_PENDING, wait until the
/// descriptor is readable, and begin again. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_stream_fd(stream: *const Stream) -> c_int {
    let mut descriptor = -1;
    // SAFETY: a handle of ours.
    let code = unsafe {
        with(stream, |stream| {
            descriptor = stream.descriptor()?;
            Ok(Code::Ok)
        })
    };
    if code == Code::Ok {
        descriptor
    } else {
        code as c_int
    }
}

/// Takes note of the descriptor's wake-ups so far, and asks for one at whatever happens from
/// now on. Never waits. From the thread that waits for the descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_stream_arm(stream: *const Stream) -> Code {
    // SAFETY: a handle of ours.
    unsafe { with(stream, Stream::arm) }
}

/// Fills `status`; `size` is `sizeof *status`. Never waits. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_stream_status(
    stream: *const Stream,
    status: *mut Status,
    size: usize,
) -> Code {
    // SAFETY: a handle of ours, and so many bytes.
    unsafe {
        with(stream, |stream| {
            let (code, value) = stream.status()?;
            give(status, size, &value).map(|_| code)
        })
    }
}

/// Writes what is captured into `text`, cut to fit into `size` bytes with a NUL at its end.
/// Never waits. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_stream_source(
    stream: *const Stream,
    text: *mut c_char,
    size: usize,
) -> Code {
    // SAFETY: a handle of ours, and room for `size` bytes: no more than `end` and one are
    // written.
    unsafe {
        with(stream, |stream| {
            let to = place(text)?.as_ptr().cast::<u8>();
            let (code, source) = stream.source()?;
            let Some(room) = size.checked_sub(1) else {
                return Err(invalid("size = 0: there is no room for a NUL"));
            };
            let end = (0..=room.min(source.len()))
                .rev()
                .find(|&end| source.is_char_boundary(end))
                .unwrap_or(0);
            std::ptr::copy_nonoverlapping(source.as_ptr(), to, end);
            to.add(end).write(0);
            Ok(code)
        })
    }
}

/// CLOCK_MONOTONIC nanoseconds at which the sample at `position` was captured. V2M_PENDING: it
/// wasn't yet; V2M_OVERRUN: that is forgotten. Never waits. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_stream_time(
    stream: *const Stream,
    position: u64,
    time_ns: *mut i64,
) -> Code {
    // SAFETY: a handle of ours, and room for a number.
    unsafe { fill(stream, time_ns, |stream| stream.time_ns(position)) }
}

/// Lets go of a chunk's memory. One without any, and NULL, is nothing. Once for each chunk that
/// was given: copies of the structure are the same chunk. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_chunk_release(chunk: *mut Chunk) {
    guard(|| {
        // SAFETY: NULL, or a chunk that nobody else uses now.
        let Some(chunk) = (unsafe { chunk.as_mut() }) else {
            return Ok(Code::Ok);
        };
        let owner = std::mem::replace(chunk, Chunk::NONE).owner;
        if !owner.is_null() {
            // SAFETY: `handles::chunk` made it by Arc::into_raw for this chunk; it is taken once.
            drop(unsafe { Arc::from_raw(owner.cast::<Reader>()) });
        }
        Ok(Code::Ok)
    });
}

/// Calls `body` with a chunk and what keeps its memory.
///
/// # Safety
/// `chunk` is NULL, or one that was given and not released.
unsafe fn with_ring(
    chunk: *const Chunk,
    body: impl FnOnce(&Chunk, &Reader) -> Result<Code>,
) -> Code {
    // SAFETY: as promised to us; `owner` is the chunk's share of a `Reader`, or NULL.
    unsafe {
        with(chunk, |chunk| match chunk.owner.cast::<Reader>().as_ref() {
            Some(ring) => body(chunk, ring),
            None => Err(invalid("there is nothing in the chunk")),
        })
    }
}

/// Whether a chunk's samples were still whole just now: V2M_OK or V2M_OVERRUN. To be asked
/// after they were used. Never waits. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_chunk_check(chunk: *const Chunk) -> Code {
    // SAFETY: a chunk of ours.
    unsafe {
        with_ring(chunk, |chunk, ring| {
            let whole = ring.is_valid(chunk.position);
            Ok(if whole { Code::Ok } else { Code::Overrun })
        })
    }
}

/// The probabilities of speech of the windows that end in the chunk, and of the one that it
/// begins in: `*count` of them, in the engine's memory like the samples. Window n is
/// the 32 ms from position n * v2m_status.window on; NaN: it was not judged. Waits 20 ms at
/// most for the newest; those that aren't judged by then are left out. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_chunk_speech(
    chunk: *const Chunk,
    probabilities: *mut *const f32,
    count: *mut u64,
) -> Code {
    // SAFETY: a chunk of ours, and room for both results.
    unsafe {
        with_ring(chunk, |chunk, ring| {
            let (to, counted) = (place(probabilities)?, place(count)?);
            let (first, found) = handles::speech(ring, chunk.position, chunk.count)?;
            to.write(first);
            counted.write(found);
            Ok(Code::Ok)
        })
    }
}

/// Writes the gaps in a chunk to `gaps`, `capacity` at most; `*count` is how many there are.
/// `gaps` may be NULL if `capacity` is 0. Never waits. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_chunk_gaps(
    chunk: *const Chunk,
    gaps: *mut Event,
    capacity: usize,
    count: *mut usize,
) -> Code {
    // SAFETY: a chunk of ours, and room for so many gaps and a number.
    unsafe {
        with_ring(chunk, |chunk, ring| {
            let found = ring.gaps_within(chunk.position, chunk.count);
            list(found, gaps, capacity, count)
        })
    }
}

/// Writes to `echoes`, `capacity` at most, what was taken off the windows that end in the chunk
/// and the one that it begins in; `*count` is how many there are. Fewer where they were
/// overwritten. `echoes` may be NULL if `capacity` is 0. Never waits. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_chunk_echo(
    chunk: *const Chunk,
    echoes: *mut Echo,
    capacity: usize,
    count: *mut usize,
) -> Code {
    // SAFETY: a chunk of ours, and room for so many and a number.
    unsafe {
        with_ring(chunk, |chunk, ring| {
            let found = ring.echoes(chunk.position, chunk.count);
            list(found, echoes, capacity, count)
        })
    }
}

/// Fills `speech` with defaults; `size` is `sizeof *speech`. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_speech_init(speech: *mut Speech, size: usize) -> Code {
    let defaults = Speech {
        size,
        ..Speech::default()
    };
    // SAFETY: C has so many bytes there.
    guard(|| unsafe { give(speech, size, &defaults) })
}

/// Opens the utterances of a stream from where it was entered or, once it was read from, its
/// newest chunk on. What is read as chunks is found as utterances, too. `speech` may be NULL.
/// Never waits. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_segments_open(
    stream: *const Stream,
    speech: *const Speech,
    segments: *mut *mut Segments,
) -> Code {
    // SAFETY: a handle of ours, an initialized structure, and room for a handle.
    unsafe {
        with(stream, |stream| {
            let speech = known(speech, Speech::default())?;
            Ok(make(segments, || Segments::open(stream, &speech)))
        })
    }
}

/// Gives the next utterance, as v2m_stream_read gives chunks. V2M_CHUNK_FINAL is in its flags
/// unless it still grows. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_segments_read(
    segments: *const Segments,
    timeout_ns: i64,
    chunk: *mut Chunk,
) -> Code {
    let limit = Limit::new(timeout_ns);
    // SAFETY: a handle of ours, and room for a chunk.
    unsafe { fill(segments, chunk, |segments| segments.read(limit)) }
}

/// Gives the next utterance if it is there, as v2m_stream_poll gives chunks. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_segments_poll(segments: *const Segments, chunk: *mut Chunk) -> Code {
    // SAFETY: a handle of ours, and room for a chunk.
    unsafe { fill(segments, chunk, Segments::poll) }
}

/// Makes one attempt to mend what v2m_segments_poll found. Blocks, for some seconds perhaps.
/// V2M_PENDING: try again in 100 ms; an error: the engine won't hear speech. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_segments_recover(segments: *const Segments) -> Code {
    // SAFETY: a handle of ours.
    unsafe { with(segments, Segments::recover) }
}

/// Frees segments; their stream goes on. NULL is nothing. No other thread may be in a call with
/// them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_segments_free(segments: *mut Segments) {
    // SAFETY: a handle of ours, which C uses no more.
    unsafe { free(segments, |_| ()) }
}

/// Opens what happens to a stream's audio from where it was entered or, once it was read from,
/// its newest chunk on; where speech goes on there, its start comes first. Never waits. From any
/// thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_events_open(stream: *const Stream, events: *mut *mut Events) -> Code {
    // SAFETY: a handle of ours, and room for a handle.
    unsafe { with(stream, |stream| Ok(make(events, || Events::open(stream)))) }
}

/// Gives the next event, as v2m_stream_read gives chunks. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_events_read(
    events: *const Events,
    timeout_ns: i64,
    event: *mut Event,
) -> Code {
    let limit = Limit::new(timeout_ns);
    // SAFETY: a handle of ours, and room for an event.
    unsafe { fill(events, event, |events| events.read(limit)) }
}

/// Gives the next event if it is there, as v2m_stream_poll gives chunks; V2M_RECOVER calls for
/// v2m_stream_recover. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_events_poll(events: *const Events, event: *mut Event) -> Code {
    // SAFETY: a handle of ours, and room for an event.
    unsafe { fill(events, event, Events::poll) }
}

/// Frees events; their stream goes on. NULL is nothing. No other thread may be in a call with
/// them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn v2m_events_free(events: *mut Events) {
    // SAFETY: a handle of ours, which C uses no more.
    unsafe { free(events, |_| ()) }
}
