//! A player that agrees to its rate and starts only when told: one step for
//! alsa-lib, two for the kernel, and in between another may begin to capture.

use std::ffi::CString;
use std::io;
use std::ptr::{null_mut, without_provenance_mut};

use crate::known::sample16;

/// The kernel's calls, from `sound/asound.h`.
const HW_PARAMS: libc::c_ulong = 0xc260_4111;
const PREPARE: libc::c_ulong = 0x4140;
const WRITE_FRAMES: libc::c_ulong = 0x4018_4150;

/// `struct snd_xferi`.
#[repr(C)]
struct Frames {
    result: libc::c_long,
    samples: *const i16,
    count: libc::c_ulong,
}

fn call(descriptor: i32, request: libc::c_ulong, argument: *mut libc::c_void) {
    // SAFETY: each request comes with what it wants: nothing, the parameters that
    // alsa-lib keeps in the kernel's own layout, or frames that outlive the call.
    let result = unsafe { libc::ioctl(descriptor, request, argument) };
    assert!(result >= 0, "{request:x}: {}", io::Error::last_os_error());
}

/// The PCM's descriptor, agreed on mono of 16 bits at `rate`, not yet prepared.
fn agree(pcm: &str, rate: u32) -> i32 {
    let name = CString::new(pcm).unwrap();
    let (mut handle, mut params) = (null_mut(), null_mut());
    let mut polled = libc::pollfd {
        fd: -1,
        events: 0,
        revents: 0,
    };
    let mut buffer = alsa_sys::snd_pcm_uframes_t::from(rate);
    // SAFETY: the pointers are out parameters of this frame; PCM and parameters
    // are valid from then on, and kept until the process ends.
    unsafe {
        let playback = alsa_sys::SND_PCM_STREAM_PLAYBACK;
        let interleaved = alsa_sys::SND_PCM_ACCESS_RW_INTERLEAVED;
        let results = [
            alsa_sys::snd_pcm_open(&mut handle, name.as_ptr(), playback, 0),
            alsa_sys::snd_pcm_hw_params_malloc(&mut params),
            alsa_sys::snd_pcm_hw_params_any(handle, params),
            alsa_sys::snd_pcm_hw_params_set_access(handle, params, interleaved),
            alsa_sys::snd_pcm_hw_params_set_format(
                handle,
                params,
                alsa::pcm::Format::s16() as alsa_sys::snd_pcm_format_t,
            ),
            alsa_sys::snd_pcm_hw_params_set_channels(handle, params, 1),
            alsa_sys::snd_pcm_hw_params_set_rate(handle, params, rate, 0),
            alsa_sys::snd_pcm_hw_params_set_buffer_size_near(handle, params, &mut buffer),
            alsa_sys::snd_pcm_poll_descriptors(handle, (&raw mut polled).cast(), 1).min(0),
        ];
        assert_eq!(results, [0; 9]);
    }
    call(polled.fd, HW_PARAMS, params.cast());
    polled.fd
}

/// Says `AGREED`, waits for a line, plays frames from 1 on and says `PLAYING`.
pub(crate) fn play_late(pcm: &str, rate: u32, seconds: f64) {
    let descriptor = agree(pcm, rate);
    println!("AGREED");
    io::stdin().read_line(&mut String::new()).unwrap();
    call(descriptor, PREPARE, without_provenance_mut(0));
    let samples: Vec<i16> = (1..=(f64::from(rate) * seconds) as u64)
        .map(sample16)
        .collect();
    // The driver starts when it has the first block.
    for (number, block) in samples.chunks(rate as usize / 2).enumerate() {
        let mut frames = Frames {
            result: 0,
            samples: block.as_ptr(),
            count: block.len() as libc::c_ulong,
        };
        call(descriptor, WRITE_FRAMES, (&raw mut frames).cast());
        assert_eq!(frames.result, block.len() as libc::c_long);
        if number == 0 {
            println!("PLAYING");
        }
    }
}
