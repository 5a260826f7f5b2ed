//! One capture PCM of alsa-lib, and its parameters: the only file here that calls C.
//!
//! alsa-lib directly, because the `alsa` crate maps interleaved buffers only
//! and keeps its handle to itself. Its enumerations are used.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ushort, c_void};
use std::mem;
use std::ptr;
use std::slice;

use alsa::pcm::{Access, Format, State};
use alsa_sys::*;
use nix::errno::Errno;

use super::convert::{CHUNK, Layout};

/// A call that alsa-lib refused.
pub(super) type Result<T> = std::result::Result<T, Errno>;

pub(super) fn check(result: c_int) -> Result<c_int> {
    if result < 0 {
        Err(Errno::from_raw(-result))
    } else {
        Ok(result)
    }
}

fn frames(result: snd_pcm_sframes_t) -> Result<usize> {
    usize::try_from(result).map_err(|_| Errno::from_raw(-(result as i32)))
}

/// Keeps alsa-lib from writing to stderr on this thread; what failed is in our errors. Its own
/// buffer for such text ends the process at a line of more than 256 bytes (alsa-lib 1.2.8).
pub(super) fn quiet() {
    unsafe extern "C" fn ignore(
        _file: *const c_char,
        _line: c_int,
        _function: *const c_char,
        _code: c_int,
        _format: *const c_char,
        _arguments: *mut __va_list_tag,
    ) {
    }
    // SAFETY: it sets a thread's own pointer, to a function that lives as long as the program.
    unsafe { snd_lib_error_set_local(Some(ignore)) };
}

/// What the driver says of one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Status {
    pub(super) state: State,
    /// Frames that can be read, or could have been: more than the buffer holds
    /// after an overrun.
    pub(super) avail: usize,
    /// Frames between the converter and the reader.
    pub(super) delay: i64,
    /// When that was.
    pub(super) time_ns: i64,
}

/// An open PCM.
pub(super) struct Pcm {
    pub(super) handle: *mut snd_pcm_t,
    status: *mut snd_pcm_status_t,
    /// For readn.
    planes: Vec<*mut c_void>,
}

// SAFETY: alsa-lib ties a PCM to no thread; `&self` methods are called by its
// one owner only (it isn't Sync).
unsafe impl Send for Pcm {}

impl Pcm {
    pub(super) fn open(name: &CStr, playback: bool) -> Result<Self> {
        let stream = if playback {
            SND_PCM_STREAM_PLAYBACK
        } else {
            SND_PCM_STREAM_CAPTURE
        };
        let mut handle = ptr::null_mut();
        let mut status = ptr::null_mut();
        // SAFETY: both pointers are out parameters of this stack frame; the name
        // ends with NUL.
        unsafe {
            check(snd_pcm_open(
                &mut handle,
                name.as_ptr(),
                stream,
                SND_PCM_NONBLOCK as c_int,
            ))?;
            if let Err(error) = check(snd_pcm_status_malloc(&mut status)) {
                snd_pcm_close(handle);
                return Err(error);
            }
        }
        Ok(Self {
            handle,
            status,
            planes: Vec::new(),
        })
    }

    /// The card's number, for a PCM that is one card's.
    pub(super) fn card(&self) -> Option<i32> {
        let mut info = ptr::null_mut();
        // SAFETY: `info` is allocated, filled, read and freed right here.
        let card = unsafe {
            check(snd_pcm_info_malloc(&mut info)).ok()?;
            let card = check(snd_pcm_info(self.handle, info)).map(|_| snd_pcm_info_get_card(info));
            snd_pcm_info_free(info);
            card
        };
        card.ok().filter(|&card| card >= 0)
    }

    /// Whether it changes formats, rates and channels (`plug`).
    pub(super) fn converts(&self) -> bool {
        // SAFETY: the handle is open.
        unsafe { snd_pcm_type(self.handle) == SND_PCM_TYPE_PLUG }
    }

    /// Whether it leads through plugins. In one that is mapped, alsa-lib skips as much again behind
    /// it (1.2.8): the two no longer agree on where audio lies, and copying may end the process.
    pub(super) fn has_plugins(&self) -> bool {
        // SAFETY: the handle is open.
        unsafe { snd_pcm_type(self.handle) != SND_PCM_TYPE_HW }
    }

    /// Where the driver places its channels, once it is set up: alsa-lib's numbers.
    pub(super) fn positions(&self) -> Vec<c_uint> {
        // SAFETY: the handle is open; the map is alsa-lib's own copy for us, holds `channels`
        // positions after that number, and is freed right here.
        unsafe {
            let map = snd_pcm_get_chmap(self.handle);
            if map.is_null() {
                return Vec::new();
            }
            let first = ptr::addr_of!((*map).pos).cast::<c_uint>();
            let all = (0..(*map).channels as usize)
                .map(|n| *first.add(n))
                .collect();
            libc::free(map.cast());
            all
        }
    }

    /// The PCM and those it leads to, in alsa-lib's words.
    pub(super) fn description(&self) -> String {
        let mut output = ptr::null_mut();
        let mut text = ptr::null_mut();
        // SAFETY: the output is opened, written, read and closed right here; its
        // text is copied before it goes.
        unsafe {
            if snd_output_buffer_open(&mut output) < 0 {
                return String::new();
            }
            snd_pcm_dump(self.handle, output);
            let length = snd_output_buffer_string(output, &mut text);
            let bytes = match text.is_null() {
                true => &[],
                false => slice::from_raw_parts(text.cast::<u8>(), length as usize),
            };
            let text = String::from_utf8_lossy(bytes).into_owned();
            snd_output_close(output);
            text
        }
    }

    /// All that the PCM can do.
    pub(super) fn params(&self) -> Result<Params<'_>> {
        let mut raw = ptr::null_mut();
        // SAFETY: allocated here, freed by `Params`.
        check(unsafe { snd_pcm_hw_params_malloc(&mut raw) })?;
        let params = Params { raw, pcm: self };
        // SAFETY: both are valid.
        check(unsafe { snd_pcm_hw_params_any(self.handle, raw) })?;
        Ok(params)
    }

    /// Wakes at every `period`, never stops on an overrun, and takes times by
    /// CLOCK_MONOTONIC where the PCM can.
    pub(super) fn software(&self, period: usize) -> Result<()> {
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is allocated, used and freed right here.
        unsafe {
            check(snd_pcm_sw_params_malloc(&mut raw))?;
            let set = || {
                let (pcm, mut boundary) = (self.handle, 0);
                check(snd_pcm_sw_params_current(pcm, raw))?;
                check(snd_pcm_sw_params_get_boundary(raw, &mut boundary))?;
                check(snd_pcm_sw_params_set_avail_min(pcm, raw, period as _))?;
                check(snd_pcm_sw_params_set_start_threshold(pcm, raw, boundary))?;
                check(snd_pcm_sw_params_set_stop_threshold(pcm, raw, boundary))?;
                let (stamped, monotonic) = (SND_PCM_TSTAMP_ENABLE, SND_PCM_TSTAMP_TYPE_MONOTONIC);
                check(snd_pcm_sw_params_set_tstamp_mode(pcm, raw, stamped))?;
                let _ = snd_pcm_sw_params_set_tstamp_type(pcm, raw, monotonic);
                check(snd_pcm_sw_params(pcm, raw))
            };
            let result = set();
            snd_pcm_sw_params_free(raw);
            result.map(drop)
        }
    }

    pub(super) fn prepare(&self) -> Result<()> {
        // SAFETY: the handle is open.
        check(unsafe { snd_pcm_prepare(self.handle) }).map(drop)
    }

    pub(super) fn start(&self) -> Result<()> {
        // SAFETY: the handle is open.
        check(unsafe { snd_pcm_start(self.handle) }).map(drop)
    }

    /// Stops at once.
    pub(super) fn halt(&self) -> Result<()> {
        // SAFETY: the handle is open.
        check(unsafe { snd_pcm_drop(self.handle) }).map(drop)
    }

    pub(super) fn status(&self) -> Result<Status> {
        // SAFETY: handle and status are valid until drop; the getters read what
        // snd_pcm_status has filled in.
        unsafe {
            check(snd_pcm_status(self.handle, self.status))?;
            let mut time: timespec = mem::zeroed();
            snd_pcm_status_get_htstamp(self.status, &mut time);
            Ok(Status {
                state: state(snd_pcm_status_get_state(self.status) as c_int),
                avail: snd_pcm_status_get_avail(self.status) as usize,
                delay: snd_pcm_status_get_delay(self.status) as i64,
                time_ns: time.tv_sec as i64 * 1_000_000_000 + time.tv_nsec as i64,
            })
        }
    }

    pub(super) fn state(&self) -> State {
        // SAFETY: the handle is open.
        state(unsafe { snd_pcm_state(self.handle) } as c_int)
    }

    /// As [`Status::avail`], freshly from the hardware.
    pub(super) fn avail(&self) -> Result<usize> {
        // SAFETY: the handle is open.
        frames(unsafe { snd_pcm_avail(self.handle) })
    }

    /// Leaves `count` frames unread; how many it could.
    pub(super) fn skip(&self, count: usize) -> Result<usize> {
        // SAFETY: the handle is open.
        frames(unsafe { snd_pcm_forward(self.handle, count as _) })
    }

    /// Reads at most `count` frames, as many as there are in one piece, into
    /// `bytes` as `layout` says.
    pub(super) fn read(
        &mut self,
        access: Access,
        layout: Layout,
        count: usize,
        bytes: &mut [u8],
    ) -> Result<usize> {
        assert!(count <= CHUNK && bytes.len() >= layout.bytes());
        match access {
            Access::RWInterleaved => {
                // SAFETY: `bytes` has room for CHUNK frames of this layout, the
                // PCM's own.
                frames(unsafe { snd_pcm_readi(self.handle, bytes.as_mut_ptr().cast(), count as _) })
            }
            Access::RWNonInterleaved => {
                self.planes.clear();
                self.planes.extend(
                    bytes
                        .chunks_exact_mut(layout.channel)
                        .map(|plane| plane.as_mut_ptr().cast::<c_void>()),
                );
                // SAFETY: one plane for each channel, each with room for CHUNK frames.
                frames(unsafe { snd_pcm_readn(self.handle, self.planes.as_mut_ptr(), count as _) })
            }
            _ => self.read_mapped(layout, count, bytes),
        }
    }

    /// Makes room for what [`Pcm::read`] needs for each channel.
    pub(super) fn reserve(&mut self, channels: usize) {
        self.planes.reserve(channels);
    }

    fn read_mapped(&self, layout: Layout, count: usize, bytes: &mut [u8]) -> Result<usize> {
        let mut areas = ptr::null();
        let mut offset = 0;
        let mut got = count as snd_pcm_uframes_t;
        // SAFETY: the handle is open, the rest are out parameters. alsa-lib wants
        // avail_update before mmap_begin.
        unsafe {
            frames(snd_pcm_avail_update(self.handle))?;
            check(snd_pcm_mmap_begin(
                self.handle,
                &mut areas,
                &mut offset,
                &mut got,
            ))?;
        }
        let count = count.min(got as usize);
        for channel in 0..layout.channels {
            // SAFETY: there is one area for each channel.
            let area = unsafe { &*areas.add(channel) };
            let step = area.step as usize / 8;
            // SAFETY: alsa-lib guarantees `got` frames from `offset` in each area.
            // The hardware may overwrite them meanwhile; whoever reads them finds
            // that out by `avail` and throws them away. Whole bytes are copied, and
            // every bit pattern is a sample.
            unsafe {
                let first = area
                    .addr
                    .cast::<u8>()
                    .add(area.first as usize / 8 + offset as usize * step);
                if channel == 0 && step == layout.frame && step == layout.channels * layout.width {
                    ptr::copy_nonoverlapping(first, bytes.as_mut_ptr(), count * step);
                    break;
                }
                for frame in 0..count {
                    let to = &mut bytes[channel * layout.channel + frame * layout.frame..]
                        [..layout.width];
                    ptr::copy_nonoverlapping(
                        first.add(frame * step),
                        to.as_mut_ptr(),
                        layout.width,
                    );
                }
            }
        }
        // SAFETY: commits part of what mmap_begin gave.
        frames(unsafe { snd_pcm_mmap_commit(self.handle, offset, count as _) })
    }

    /// The descriptors to poll.
    pub(super) fn descriptors(&self) -> Result<Vec<libc::pollfd>> {
        // SAFETY: alsa_sys's pollfd is libc's; the vector has room for `count`.
        unsafe {
            let count = check(snd_pcm_poll_descriptors_count(self.handle))?;
            let none = libc::pollfd {
                fd: -1,
                events: 0,
                revents: 0,
            };
            let mut all = vec![none; count as usize];
            let filled = check(snd_pcm_poll_descriptors(
                self.handle,
                all.as_mut_ptr().cast(),
                count as c_uint,
            ))?;
            all.truncate(filled as usize);
            Ok(all)
        }
    }

    /// What poll's answer means for the PCM: POLLIN, POLLERR.
    pub(super) fn events(&self, polled: &mut [libc::pollfd]) -> Result<i16> {
        let mut events: c_ushort = 0;
        // SAFETY: as many as the slice holds.
        check(unsafe {
            let first = polled.as_mut_ptr().cast();
            snd_pcm_poll_descriptors_revents(
                self.handle,
                first,
                polled.len() as c_uint,
                &mut events,
            )
        })?;
        Ok(events as i16)
    }
}

impl Drop for Pcm {
    fn drop(&mut self) {
        // SAFETY: both are valid and used by nobody afterwards.
        unsafe {
            snd_pcm_status_free(self.status);
            snd_pcm_close(self.handle);
        }
    }
}

fn state(raw: c_int) -> State {
    State::all()
        .iter()
        .copied()
        .find(|&state| state as c_int == raw)
        .unwrap_or(State::Disconnected)
}

/// What a PCM can still do, narrowed step by step.
pub(super) struct Params<'a> {
    raw: *mut snd_pcm_hw_params_t,
    pcm: &'a Pcm,
}

/// The lowest and the highest value.
pub(super) type Range = (u32, u32);

impl Params<'_> {
    /// Rates of the hardware only; a PCM without the choice doesn't matter.
    pub(super) fn no_resampling(&self) {
        // SAFETY: both are valid.
        unsafe { snd_pcm_hw_params_set_rate_resample(self.pcm.handle, self.raw, 0) };
    }

    pub(super) fn set_access(&self, access: Access) -> Result<()> {
        // SAFETY: both are valid.
        check(unsafe { snd_pcm_hw_params_set_access(self.pcm.handle, self.raw, access as _) })
            .map(drop)
    }

    pub(super) fn has_format(&self, format: Format) -> bool {
        // SAFETY: both are valid.
        unsafe { snd_pcm_hw_params_test_format(self.pcm.handle, self.raw, format as _) == 0 }
    }

    pub(super) fn set_format(&self, format: Format) -> Result<()> {
        // SAFETY: both are valid.
        check(unsafe { snd_pcm_hw_params_set_format(self.pcm.handle, self.raw, format as _) })
            .map(drop)
    }

    pub(super) fn has_rate(&self, rate: u32) -> bool {
        // SAFETY: both are valid.
        unsafe { snd_pcm_hw_params_test_rate(self.pcm.handle, self.raw, rate, 0) == 0 }
    }

    /// The rate that it became.
    pub(super) fn set_rate(&self, rate: u32) -> Result<u32> {
        let mut near = rate;
        // SAFETY: both are valid; `near` is in and out; no direction is wanted.
        check(unsafe {
            snd_pcm_hw_params_set_rate_near(self.pcm.handle, self.raw, &mut near, ptr::null_mut())
        })?;
        Ok(near)
    }

    /// The number that it became.
    pub(super) fn set_channels(&self, channels: u32) -> Result<u32> {
        let mut near = channels;
        // SAFETY: both are valid; `near` is in and out.
        check(unsafe {
            snd_pcm_hw_params_set_channels_near(self.pcm.handle, self.raw, &mut near)
        })?;
        Ok(near)
    }

    /// The length in frames that it became.
    pub(super) fn set_period(&self, period: usize) -> Result<usize> {
        let mut near = period as snd_pcm_uframes_t;
        let mut direction = 0;
        // SAFETY: both are valid; the others are in and out.
        check(unsafe {
            snd_pcm_hw_params_set_period_size_near(
                self.pcm.handle,
                self.raw,
                &mut near,
                &mut direction,
            )
        })?;
        Ok(near as usize)
    }

    /// The length in frames that it became.
    pub(super) fn set_buffer(&self, buffer: usize) -> Result<usize> {
        let mut near = buffer as snd_pcm_uframes_t;
        // SAFETY: both are valid; `near` is in and out.
        check(unsafe {
            snd_pcm_hw_params_set_buffer_size_near(self.pcm.handle, self.raw, &mut near)
        })?;
        Ok(near as usize)
    }

    pub(super) fn rates(&self) -> Range {
        let (mut low, mut high) = (0, 0);
        // SAFETY: valid parameters, out parameters of this frame.
        unsafe {
            snd_pcm_hw_params_get_rate_min(self.raw, &mut low, ptr::null_mut());
            snd_pcm_hw_params_get_rate_max(self.raw, &mut high, ptr::null_mut());
        }
        (low, high)
    }

    pub(super) fn channels(&self) -> Range {
        let (mut low, mut high) = (0, 0);
        // SAFETY: valid parameters, out parameters of this frame.
        unsafe {
            snd_pcm_hw_params_get_channels_min(self.raw, &mut low);
            snd_pcm_hw_params_get_channels_max(self.raw, &mut high);
        }
        (low, high)
    }

    /// Makes it so: the PCM is prepared.
    pub(super) fn apply(self) -> Result<()> {
        // SAFETY: both are valid.
        check(unsafe { snd_pcm_hw_params(self.pcm.handle, self.raw) }).map(drop)
    }
}

impl Drop for Params<'_> {
    fn drop(&mut self) {
        // SAFETY: allocated by `Pcm::params`, freed once.
        unsafe { snd_pcm_hw_params_free(self.raw) };
    }
}
