//! A `pw_filter` with mono ports: the safe crate has none, so this file talks to
//! libpipewire itself. It is the only one here that does.
//!
//! Two threads meet in a [`Filter`]. The thread that owns the main loop creates
//! and drops it and hears of state changes; PipeWire's data thread calls the
//! process closure, once per cycle, between `connect` and `destroy`.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::{mem, slice};

use libspa_sys as spa_sys;
use pipewire::core::CoreRc;
use pipewire::properties::PropertiesBox;
use pipewire_sys as pw_sys;

use crate::stream::{Parameter, StreamVolume, format};
use crate::{Direction, Error, ErrorKind, Result, Version};
use libspa::pod::Pod;

/// The version of libpipewire that is loaded.
pub fn library_version() -> Version {
    // SAFETY: returns a static C string, any time.
    let version = unsafe { CStr::from_ptr(pw_sys::pw_get_library_version()) };
    version.to_string_lossy().as_ref().into()
}

/// The client configuration that asks for a real-time data thread: since 1.3 there is
/// only one, and it does.
pub fn realtime_config() -> &'static str {
    if library_version() < Version(1, 3, 0) {
        "client-rt.conf"
    } else {
        "client.conf"
    }
}

/// The most ports that a filter has.
pub const MAX_PORTS: usize = 64;

/// One cycle of the graph, as the data thread sees it.
#[derive(Clone, Copy, Debug)]
pub struct Cycle<'a> {
    /// Of each port the bits of its samples (f32), at most `quantum` of them; `None` if the
    /// graph gave no buffer. Other processes map this memory too: copy it, once. Of an
    /// output port: to be filled.
    pub ports: &'a [Option<&'a [AtomicU32]>],
    /// The graph's samples per second in this cycle.
    pub rate: u32,
    /// The cycle's length in samples.
    pub quantum: u32,
    /// The driver's count at the cycle's start.
    pub position: u64,
    /// The same as the driver has it now: another once it has begun the next cycle.
    pub now: &'a AtomicU64,
    pub clock_id: u32,
    /// CLOCK_MONOTONIC nanoseconds of the driver's wake-up for this cycle.
    pub nsec: u64,
    /// Samples between `position` and the hardware, at `rate`; positive for capture.
    pub delay: i64,
    /// The position is not where the cycle before ended: cycles were lost or repeated.
    pub xrun: bool,
}

/// Called for every cycle on the data thread: no allocation, lock, log or system call.
pub type Process = Box<dyn FnMut(&Cycle<'_>) + Send>;

/// What went wrong with the node.
#[derive(Debug)]
pub enum Failure {
    /// PipeWire reports an error, and why.
    Error(String),
    /// The daemon has no such node any more: it is gone, or somebody removed the node.
    Removed,
}

/// Called on the main loop's thread, also while the filter is dropped.
pub type Failed = Box<dyn Fn(Failure)>;

/// What a filter that records shows of itself to the desktop.
pub struct Recording {
    /// Samples per second, for people to see.
    pub rate: u32,
    /// Its volume to begin with.
    pub volume: StreamVolume,
    /// Called on the main loop's thread when the desktop sets another.
    pub changed: Box<dyn Fn(StreamVolume)>,
}

/// A connected filter node. Lives on the main loop's thread; dropping it waits
/// until the data thread has let go.
pub struct Filter {
    filter: NonNull<pw_sys::pw_filter>,
    // libpipewire keeps pointers to these three until the filter is destroyed,
    // so they are freed after it, and are boxed so that moving `Filter` leaves
    // them where they are. Raw, because a `Box` would claim to be their only
    // user while C and the data thread use them too.
    hook: NonNull<spa_sys::spa_hook>,
    events: NonNull<pw_sys::pw_filter_events>,
    shared: NonNull<FilterShared>,
    // The filter takes itself off the core's lists when it is destroyed.
    _core: CoreRc,
}

struct FilterShared {
    /// The data thread's only.
    data: UnsafeCell<Data>,
    /// The main loop's thread's only.
    failed: Failed,
    /// The main loop's thread's only.
    recording: Option<(Cell<StreamVolume>, Recording)>,
    filter: NonNull<pw_sys::pw_filter>,
}

struct Data {
    process: Process,
    /// Port data as libpipewire names ports, in their order. Set before `connect`.
    ports: Vec<*mut c_void>,
    direction: Direction,
    /// Clock and position at which the next cycle should start.
    expected: Option<(u32, u32, u64)>,
}

impl Filter {
    /// Creates a node with `properties` and so many ports, [`MAX_PORTS`] at most, and
    /// connects it. The first port is `input` (or `output`), the next `input_2`. With
    /// `recording` the desktop sees a format and a volume that it may set.
    pub fn new(
        core: &CoreRc,
        name: &str,
        properties: PropertiesBox,
        (direction, ports): (Direction, usize),
        process: Process,
        failed: Failed,
        recording: Option<Recording>,
    ) -> Result<Self> {
        let refused = |what: &str| {
            let cause = std::io::Error::last_os_error();
            Error::new(
                ErrorKind::Device,
                format!("PipeWire refused {what}: {cause}"),
            )
        };
        let c_name = CString::new(name).map_err(|_| {
            Error::new(
                ErrorKind::Invalid,
                "the node's name has a NUL character: remove it",
            )
        })?;

        // SAFETY: `core` is alive and `_core` keeps it so for as long as the filter
        // exists. `c_name` outlives the call, which copies it. The call takes the
        // properties over, whether it succeeds or not.
        let filter = unsafe {
            pw_sys::pw_filter_new(
                core.as_raw_ptr().cast(),
                c_name.as_ptr(),
                properties.into_raw().cast(),
            )
        };
        let filter = NonNull::new(filter).ok_or_else(|| refused("a filter"))?;

        let events = pw_sys::pw_filter_events {
            version: pw_sys::PW_VERSION_FILTER_EVENTS,
            state_changed: Some(on_state_changed),
            process: Some(on_process),
            param_changed: Some(on_param_changed),
            // SAFETY: the remaining fields are optional function pointers, and
            // all-zero is `None`.
            ..unsafe { mem::zeroed() }
        };
        let data = Data {
            process,
            ports: Vec::new(),
            direction,
            expected: None,
        };
        let this = Self {
            filter,
            // SAFETY: a hook is pointers and optional function pointers; all-zero is
            // the state in which libpipewire wants it before it is added.
            hook: leak(unsafe { mem::zeroed() }),
            events: leak(events),
            shared: leak(FilterShared {
                data: UnsafeCell::new(data),
                failed,
                recording: recording.map(|recording| (Cell::new(recording.volume), recording)),
                filter,
            }),
            _core: core.clone(),
        };

        // SAFETY: hook, events and shared stay where they are until `drop` has
        // destroyed the filter, and nothing in Rust holds a reference to hook or events.
        unsafe {
            pw_sys::pw_filter_add_listener(
                filter.as_ptr(),
                this.hook.as_ptr().cast(),
                this.events.as_ptr(),
                this.shared.as_ptr().cast(),
            );
        }

        let ports = (1..=ports.min(MAX_PORTS)).map(|number| this.add_port(direction, number));
        let ports: Option<Vec<_>> = ports.collect();
        let ports = ports.ok_or_else(|| refused("a port"))?;
        // SAFETY: not connected yet, so no data thread uses `data`.
        unsafe { (*this.shared.as_ref().data.get()).ports = ports };

        // SAFETY: only this thread changes the field, and it has no reference to it now.
        let recording = unsafe { &(*this.shared.as_ptr()).recording };
        let parameters = recording
            .iter()
            .flat_map(|(volume, recording)| [format(recording.rate), volume.get().properties()]);
        let parameters: Vec<Parameter> = parameters.collect();
        let mut pods: Vec<_> = parameters.iter().map(Parameter::as_ptr).collect();
        // SAFETY: the filter is alive; so many pods are passed as there are, well-formed
        // and alive until the call returns, which copies them.
        let result = unsafe {
            pw_sys::pw_filter_connect(
                filter.as_ptr(),
                pw_sys::pw_filter_flags_PW_FILTER_FLAG_RT_PROCESS,
                pods.as_mut_ptr(),
                pods.len() as u32,
            )
        };
        if result < 0 {
            return Err(refused("to connect the filter"));
        }
        Ok(this)
    }

    /// Before the filter is connected.
    fn add_port(&self, direction: Direction, number: usize) -> Option<*mut c_void> {
        let (mut name, spa_direction) = match direction {
            Direction::In => ("input".to_owned(), spa_sys::SPA_DIRECTION_INPUT),
            Direction::Out => ("output".to_owned(), spa_sys::SPA_DIRECTION_OUTPUT),
        };
        if number > 1 {
            name = format!("{name}_{number}");
        }
        let mut properties = PropertiesBox::new();
        properties.insert("format.dsp", "32 bit float mono audio");
        properties.insert("port.name", name);
        // SAFETY: the filter is alive; the call takes the properties over; no parameters
        // are passed, so the null pointer is not read.
        let port = unsafe {
            pw_sys::pw_filter_add_port(
                self.filter.as_ptr(),
                spa_direction,
                pw_sys::pw_filter_port_flags_PW_FILTER_PORT_FLAG_MAP_BUFFERS,
                0,
                properties.into_raw().cast(),
                ptr::null_mut(),
                0,
            )
        };
        (!port.is_null()).then_some(port)
    }

    /// The node's global id, once the daemon has given it one.
    pub fn node_id(&self) -> Option<u32> {
        // SAFETY: the filter is alive.
        let id = unsafe { pw_sys::pw_filter_get_node_id(self.filter.as_ptr()) };
        (id != spa_sys::SPA_ID_INVALID).then_some(id)
    }

    /// Runs with the graph, or rests; links stay as they are.
    pub fn set_active(&self, active: bool) {
        // SAFETY: the filter is alive. Fails only where no daemon is left to tell.
        unsafe { pw_sys::pw_filter_set_active(self.filter.as_ptr(), active) };
    }

    /// Changes one of the node's properties while it runs.
    pub fn set_property(&self, key: &CStr, value: &CStr) {
        let item = spa_sys::spa_dict_item {
            key: key.as_ptr(),
            value: value.as_ptr(),
        };
        let dict = spa_sys::spa_dict {
            flags: 0,
            n_items: 1,
            items: &raw const item,
        };
        // SAFETY: the filter is alive; item, key and value outlive the call, which copies
        // them; null port data means the node.
        unsafe {
            pw_sys::pw_filter_update_properties(
                self.filter.as_ptr(),
                ptr::null_mut(),
                (&raw const dict).cast(),
            );
        }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY:
        // * The filter is alive: it is destroyed here and only here, on the thread
        //   that created it, with the core still there (`_core` is dropped later).
        // * Destroying disconnects the node, which takes it off the data loop by a
        //   blocking call into that loop: no process call runs or comes after it.
        //   State changes come on this thread, and none after it.
        // * So nothing uses the three boxes any more; each came from `leak`.
        unsafe {
            pw_sys::pw_filter_destroy(self.filter.as_ptr());
            drop(Box::from_raw(self.hook.as_ptr()));
            drop(Box::from_raw(self.events.as_ptr()));
            drop(Box::from_raw(self.shared.as_ptr()));
        }
    }
}

fn leak<T>(value: T) -> NonNull<T> {
    NonNull::from(Box::leak(Box::new(value)))
}

unsafe extern "C" fn on_state_changed(
    shared: *mut c_void,
    _old: pw_sys::pw_filter_state,
    state: pw_sys::pw_filter_state,
    error: *const c_char,
) {
    let failure = match state {
        pw_sys::pw_filter_state_PW_FILTER_STATE_UNCONNECTED => Failure::Removed,
        pw_sys::pw_filter_state_PW_FILTER_STATE_ERROR if error.is_null() => {
            Failure::Error("no reason given".to_owned())
        }
        pw_sys::pw_filter_state_PW_FILTER_STATE_ERROR => {
            // SAFETY: libpipewire passes a C string that lives through the call.
            Failure::Error(
                unsafe { CStr::from_ptr(error) }
                    .to_string_lossy()
                    .into_owned(),
            )
        }
        _ => return,
    };
    // SAFETY: `shared` is what `add_listener` was given, alive until the filter is
    // destroyed; `failed` belongs to this thread.
    let failed = unsafe { &(*shared.cast::<FilterShared>()).failed };
    failed(failure);
}

/// The desktop sets a parameter of the node or of one of its ports.
unsafe extern "C" fn on_param_changed(
    shared: *mut c_void,
    port: *mut c_void,
    id: u32,
    parameter: *const spa_sys::spa_pod,
) {
    if !port.is_null() || id != spa_sys::SPA_PARAM_Props || parameter.is_null() {
        return;
    }
    // SAFETY: `shared` is what `add_listener` was given, alive until the filter is
    // destroyed; `recording` and `filter` belong to this thread.
    let (recording, filter) = unsafe {
        let shared = shared.cast::<FilterShared>();
        (&(*shared).recording, (*shared).filter)
    };
    let Some((volume, recording)) = recording else {
        return;
    };
    // SAFETY: libpipewire passes a whole pod that it has checked and that lives through
    // the call.
    let now = volume.get().changed_by(unsafe { Pod::from_raw(parameter) });
    volume.set(now);
    let properties = now.properties();
    let mut pod = properties.as_ptr();
    // SAFETY: the filter is alive; null port data means the node; one pod is passed, which
    // outlives the call, which copies it.
    unsafe {
        pw_sys::pw_filter_update_params(filter.as_ptr(), ptr::null_mut(), &raw mut pod, 1);
    }
    (recording.changed)(now);
}

unsafe extern "C" fn on_process(shared: *mut c_void, position: *mut spa_sys::spa_io_position) {
    // SAFETY: `shared` is what `add_listener` was given, alive until the filter is
    // destroyed. The data thread alone calls this, one cycle after the other, and it
    // alone uses `data` once connected: this is the only reference.
    let data = unsafe { &mut *(*shared.cast::<FilterShared>()).data.get() };
    // SAFETY: null, or the driver's position, mapped for as long as the node runs. It
    // is memory shared with the daemon, so the clock is copied by a volatile read of
    // plain integers and floats and what it says is checked below; its count, an aligned
    // u64, is looked at again as an atomic that lives as long as this call.
    let Some((clock, now)) = NonNull::new(position).map(|p| unsafe {
        let clock = &raw mut (*p.as_ptr()).clock;
        (
            ptr::read_volatile(clock),
            AtomicU64::from_ptr(&raw mut (*clock).position),
        )
    }) else {
        return;
    };

    // The rate is a fraction of seconds per sample: 1/48000.
    let rate = clock.rate.denom / clock.rate.num.max(1);
    let quantum = u32::try_from(clock.duration).unwrap_or(0);
    if rate == 0 || quantum == 0 {
        return;
    }
    let here = (clock.id, rate, clock.position);
    let xrun = data
        .expected
        .is_some_and(|e| (e.0, e.1) == (here.0, here.1) && e != here);
    data.expected = Some((
        clock.id,
        rate,
        clock.position.wrapping_add(u64::from(quantum)),
    ));

    let fill = (data.direction == Direction::Out).then_some(quantum);
    let mut buffers = [None; MAX_PORTS];
    for (buffer, port) in buffers.iter_mut().zip(&data.ports) {
        // SAFETY: the port is one that `new` added, and lives as long as the filter.
        *buffer = unsafe { take_buffer(*port, fill) }.map(|(start, capacity)| {
            // SAFETY: `take_buffer` vouches for `capacity` aligned words that stay mapped
            // until this cycle's callback returns; others may write them, so atomics.
            unsafe { slice::from_raw_parts(start, capacity.min(quantum as usize)) }
        });
    }

    (data.process)(&Cycle {
        ports: &buffers[..data.ports.len()],
        rate,
        quantum,
        position: clock.position,
        now,
        clock_id: clock.id,
        nsec: clock.nsec,
        delay: clock.delay,
        xrun,
    });
}

/// This cycle's buffer: its first sample and how many it can hold.
///
/// The chunk's size is not looked at: peers that write DSP samples fill the whole
/// cycle, and not all of them say so there. An output port's buffer is marked as
/// holding `fill` samples.
///
/// # Safety
/// `port` is a live port of a filter, and this is its data thread in a cycle.
unsafe fn take_buffer(port: *mut c_void, fill: Option<u32>) -> Option<(*const AtomicU32, usize)> {
    // SAFETY: by the caller's promise. The buffer goes straight back: queueing only
    // marks it for recycling when the callback has returned.
    let buffer = unsafe {
        let buffer = NonNull::new(pw_sys::pw_filter_dequeue_buffer(port))?;
        pw_sys::pw_filter_queue_buffer(port, buffer.as_ptr());
        NonNull::new(buffer.as_ref().buffer.cast::<spa_sys::spa_buffer>())?
    };
    // SAFETY: libpipewire built the buffer and keeps it; `datas` has `n_datas` entries.
    let data = unsafe {
        let buffer = buffer.as_ref();
        if buffer.n_datas == 0 || buffer.datas.is_null() {
            return None;
        }
        &*buffer.datas
    };
    let start = data.data.cast::<AtomicU32>();
    if start.is_null() || !start.is_aligned() {
        return None;
    }
    if let (Some(samples), Some(chunk)) = (fill, NonNull::new(data.chunk)) {
        // SAFETY: the buffer's own chunk, mapped as long as the buffer; written by a
        // volatile store, as the daemon maps it too.
        unsafe {
            chunk.write_volatile(spa_sys::spa_chunk {
                offset: 0,
                size: (samples * size_of::<f32>() as u32).min(data.maxsize),
                stride: size_of::<f32>() as i32,
                flags: 0,
            });
        }
    }
    Some((start, data.maxsize as usize / size_of::<AtomicU32>()))
}
