//! One capture PCM of alsa-lib; beside `params.rs` the only file here that calls C.
//!
//! alsa-lib directly, because the `alsa` crate maps interleaved buffers only
//! and keeps its handle to itself. Its enumerations are used.

use std::ffi::{CStr, c_int, c_uint, c_ushort, c_void};
use std::mem;
use std::ptr;
use std::slice;

use alsa::pcm::{Access, State};
use nix::errno::Errno;

use super::params::Params;
use crate::channels::names_for;

/// Frames taken at once.
pub(super) const CHUNK: usize = 1024;

/// A call that alsa-lib refused.
pub(super) type Result<T> = std::result::Result<T, Errno>;

pub(super) fn check(result: c_int) -> Result<c_int> {
    if result < 0 {
        Err(Errno::from_raw(-result))
    } else {
        Ok(result)
    }
}

fn frames(result: alsa_sys::snd_pcm_sframes_t) -> Result<usize> {
    usize::try_from(result).map_err(|_| Errno::from_raw(-(result as i32)))
}

/// Where a channel's samples stand in the bytes that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) channels: usize,
    /// Bytes of one sample.
    pub(super) width: usize,
    /// Bytes from a frame to the next, in one channel.
    pub(super) frame: usize,
    /// Bytes from a channel to the next, in one frame.
    pub(super) channel: usize,
}

impl Layout {
    pub(super) fn new(access: Access, channels: usize, width: usize) -> Self {
        match access {
            Access::MMapInterleaved | Access::RWInterleaved | Access::MMapComplex => Self {
                channels,
                width,
                frame: channels * width,
                channel: width,
            },
            Access::MMapNonInterleaved | Access::RWNonInterleaved => Self {
                channels,
                width,
                frame: width,
                channel: CHUNK * width,
            },
        }
    }

    pub(super) fn bytes(&self) -> usize {
        CHUNK * self.channels * self.width
    }
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
    pub(super) handle: *mut alsa_sys::snd_pcm_t,
    status: *mut alsa_sys::snd_pcm_status_t,
    /// For readn.
    planes: Vec<*mut c_void>,
}

// SAFETY: alsa-lib ties a PCM to no thread; `&self` methods are called by its
// one owner only (it isn't Sync).
unsafe impl Send for Pcm {}

impl Pcm {
    pub(super) fn open(name: &CStr, playback: bool) -> Result<Self> {
        let stream = if playback {
            alsa_sys::SND_PCM_STREAM_PLAYBACK
        } else {
            alsa_sys::SND_PCM_STREAM_CAPTURE
        };
        let mut handle = ptr::null_mut();
        let mut status = ptr::null_mut();
        // SAFETY: both pointers are out parameters of this stack frame; the name
        // ends with NUL.
        unsafe {
            check(alsa_sys::snd_pcm_open(
                &mut handle,
                name.as_ptr(),
                stream,
                alsa_sys::SND_PCM_NONBLOCK as c_int,
            ))?;
            if let Err(error) = check(alsa_sys::snd_pcm_status_malloc(&mut status)) {
                alsa_sys::snd_pcm_close(handle);
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
            check(alsa_sys::snd_pcm_info_malloc(&mut info)).ok()?;
            let card = check(alsa_sys::snd_pcm_info(self.handle, info))
                .map(|_| alsa_sys::snd_pcm_info_get_card(info));
            alsa_sys::snd_pcm_info_free(info);
            card
        };
        card.ok().filter(|&card| card >= 0)
    }

    /// Whether it changes formats, rates and channels (`plug`).
    pub(super) fn converts(&self) -> bool {
        // SAFETY: the handle is open.
        unsafe { alsa_sys::snd_pcm_type(self.handle) == alsa_sys::SND_PCM_TYPE_PLUG }
    }

    /// How many channels the PCM has that this one converts from, once it is set up.
    pub(super) fn behind(&self) -> Option<u32> {
        if !self.converts() {
            return None;
        }
        let text = self.description();
        let mut lines = text.lines().rev();
        lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == "channels").then(|| value.trim().parse().ok())?
        })
    }

    /// The names of its `count` channels, once it is set up: as the driver places them, or
    /// by their number.
    pub(super) fn channel_names(&self, count: usize) -> Vec<String> {
        let mut names = Vec::with_capacity(count);
        // SAFETY: the handle is open; the map is alsa-lib's own copy for us, holds `channels`
        // positions after that number, and is freed right here.
        unsafe {
            let map = alsa_sys::snd_pcm_get_chmap(self.handle);
            if !map.is_null() {
                let positions = ptr::addr_of!((*map).pos).cast::<c_uint>();
                let known = ((*map).channels as usize).min(count);
                names.extend((0..known).filter_map(|n| position(*positions.add(n))));
                libc::free(map.cast());
            }
        }
        match names.len() == count && count > 1 {
            true => names,
            false => names_for(count),
        }
    }

    /// The PCM and those it leads to, in alsa-lib's words.
    pub(super) fn description(&self) -> String {
        let mut output = ptr::null_mut();
        let mut text = ptr::null_mut();
        // SAFETY: the output is opened, written, read and closed right here; its
        // text is copied before it goes.
        unsafe {
            if alsa_sys::snd_output_buffer_open(&mut output) < 0 {
                return String::new();
            }
            alsa_sys::snd_pcm_dump(self.handle, output);
            let length = alsa_sys::snd_output_buffer_string(output, &mut text);
            let bytes = match text.is_null() {
                true => &[],
                false => slice::from_raw_parts(text.cast::<u8>(), length as usize),
            };
            let text = String::from_utf8_lossy(bytes).into_owned();
            alsa_sys::snd_output_close(output);
            text
        }
    }

    /// All that the PCM can do.
    pub(super) fn params(&self) -> Result<Params<'_>> {
        let mut raw = ptr::null_mut();
        // SAFETY: allocated here, freed by `Params`.
        check(unsafe { alsa_sys::snd_pcm_hw_params_malloc(&mut raw) })?;
        let params = Params::new(self, raw);
        // SAFETY: both are valid.
        check(unsafe { alsa_sys::snd_pcm_hw_params_any(self.handle, raw) })?;
        Ok(params)
    }

    /// Wakes at every `period`, never stops on an overrun, and takes times by
    /// CLOCK_MONOTONIC where the PCM can.
    pub(super) fn software(&self, period: usize) -> Result<()> {
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is allocated, used and freed right here.
        unsafe {
            check(alsa_sys::snd_pcm_sw_params_malloc(&mut raw))?;
            let set = || {
                let mut boundary = 0;
                check(alsa_sys::snd_pcm_sw_params_current(self.handle, raw))?;
                check(alsa_sys::snd_pcm_sw_params_get_boundary(raw, &mut boundary))?;
                check(alsa_sys::snd_pcm_sw_params_set_avail_min(
                    self.handle,
                    raw,
                    period as _,
                ))?;
                check(alsa_sys::snd_pcm_sw_params_set_start_threshold(
                    self.handle,
                    raw,
                    boundary,
                ))?;
                check(alsa_sys::snd_pcm_sw_params_set_stop_threshold(
                    self.handle,
                    raw,
                    boundary,
                ))?;
                check(alsa_sys::snd_pcm_sw_params_set_tstamp_mode(
                    self.handle,
                    raw,
                    alsa_sys::SND_PCM_TSTAMP_ENABLE,
                ))?;
                let monotonic = alsa_sys::SND_PCM_TSTAMP_TYPE_MONOTONIC;
                let _ = alsa_sys::snd_pcm_sw_params_set_tstamp_type(self.handle, raw, monotonic);
                check(alsa_sys::snd_pcm_sw_params(self.handle, raw))
            };
            let result = set();
            alsa_sys::snd_pcm_sw_params_free(raw);
            result.map(drop)
        }
    }

    pub(super) fn prepare(&self) -> Result<()> {
        // SAFETY: the handle is open.
        check(unsafe { alsa_sys::snd_pcm_prepare(self.handle) }).map(drop)
    }

    pub(super) fn start(&self) -> Result<()> {
        // SAFETY: the handle is open.
        check(unsafe { alsa_sys::snd_pcm_start(self.handle) }).map(drop)
    }

    /// Stops at once.
    pub(super) fn halt(&self) -> Result<()> {
        // SAFETY: the handle is open.
        check(unsafe { alsa_sys::snd_pcm_drop(self.handle) }).map(drop)
    }

    pub(super) fn resume(&self) -> Result<()> {
        // SAFETY: the handle is open.
        check(unsafe { alsa_sys::snd_pcm_resume(self.handle) }).map(drop)
    }

    pub(super) fn status(&self) -> Result<Status> {
        // SAFETY: handle and status are valid until drop; the getters read what
        // snd_pcm_status has filled in.
        unsafe {
            check(alsa_sys::snd_pcm_status(self.handle, self.status))?;
            let mut time: alsa_sys::timespec = mem::zeroed();
            alsa_sys::snd_pcm_status_get_htstamp(self.status, &mut time);
            Ok(Status {
                state: state(alsa_sys::snd_pcm_status_get_state(self.status) as c_int),
                avail: alsa_sys::snd_pcm_status_get_avail(self.status) as usize,
                delay: alsa_sys::snd_pcm_status_get_delay(self.status) as i64,
                time_ns: time.tv_sec as i64 * 1_000_000_000 + time.tv_nsec as i64,
            })
        }
    }

    pub(super) fn state(&self) -> State {
        // SAFETY: the handle is open.
        state(unsafe { alsa_sys::snd_pcm_state(self.handle) } as c_int)
    }

    /// As [`Status::avail`], freshly from the hardware.
    pub(super) fn avail(&self) -> Result<usize> {
        // SAFETY: the handle is open.
        frames(unsafe { alsa_sys::snd_pcm_avail(self.handle) })
    }

    /// Leaves `count` frames unread; how many it could.
    pub(super) fn skip(&self, count: usize) -> Result<usize> {
        // SAFETY: the handle is open.
        frames(unsafe { alsa_sys::snd_pcm_forward(self.handle, count as _) })
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
                frames(unsafe {
                    alsa_sys::snd_pcm_readi(self.handle, bytes.as_mut_ptr().cast(), count as _)
                })
            }
            Access::RWNonInterleaved => {
                self.planes.clear();
                self.planes.extend(
                    bytes
                        .chunks_exact_mut(layout.channel)
                        .map(|plane| plane.as_mut_ptr().cast::<c_void>()),
                );
                // SAFETY: one plane for each channel, each with room for CHUNK frames.
                frames(unsafe {
                    alsa_sys::snd_pcm_readn(self.handle, self.planes.as_mut_ptr(), count as _)
                })
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
        let mut got = count as alsa_sys::snd_pcm_uframes_t;
        // SAFETY: the handle is open, the rest are out parameters. alsa-lib wants
        // avail_update before mmap_begin.
        unsafe {
            frames(alsa_sys::snd_pcm_avail_update(self.handle))?;
            check(alsa_sys::snd_pcm_mmap_begin(
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
        frames(unsafe { alsa_sys::snd_pcm_mmap_commit(self.handle, offset, count as _) })
    }

    /// The descriptors to poll.
    pub(super) fn descriptors(&self) -> Result<Vec<libc::pollfd>> {
        // SAFETY: alsa_sys's pollfd is libc's; the vector has room for `count`.
        unsafe {
            let count = check(alsa_sys::snd_pcm_poll_descriptors_count(self.handle))?;
            let mut all = vec![
                libc::pollfd {
                    fd: -1,
                    events: 0,
                    revents: 0
                };
                count as usize
            ];
            let filled = check(alsa_sys::snd_pcm_poll_descriptors(
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
            alsa_sys::snd_pcm_poll_descriptors_revents(
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
            alsa_sys::snd_pcm_status_free(self.status);
            alsa_sys::snd_pcm_close(self.handle);
        }
    }
}

/// What PipeWire calls a position of alsa-lib's channel maps.
fn position(raw: c_uint) -> Option<String> {
    // The upper bits say more, for instance of its phase.
    let name = match raw & alsa_sys::SND_CHMAP_POSITION_MASK as c_uint {
        alsa_sys::SND_CHMAP_MONO => "MONO",
        alsa_sys::SND_CHMAP_FL => "FL",
        alsa_sys::SND_CHMAP_FR => "FR",
        alsa_sys::SND_CHMAP_RL => "RL",
        alsa_sys::SND_CHMAP_RR => "RR",
        alsa_sys::SND_CHMAP_FC => "FC",
        alsa_sys::SND_CHMAP_LFE => "LFE",
        alsa_sys::SND_CHMAP_SL => "SL",
        alsa_sys::SND_CHMAP_SR => "SR",
        alsa_sys::SND_CHMAP_RC => "RC",
        _ => return None,
    };
    Some(name.to_owned())
}

fn state(raw: c_int) -> State {
    State::all()
        .iter()
        .copied()
        .find(|&state| state as c_int == raw)
        .unwrap_or(State::Disconnected)
}

/// Waits for any of `polled`; how many are ready, 0 after `timeout_ms`.
pub(super) fn poll(polled: &mut [libc::pollfd], timeout_ms: i32) -> Result<usize> {
    // SAFETY: as many as the slice holds.
    let ready = unsafe {
        libc::poll(
            polled.as_mut_ptr(),
            polled.len() as libc::nfds_t,
            timeout_ms,
        )
    };
    Errno::result(ready).map(|ready| ready as usize)
}
