//! Plays known content into the loopback, from a process of its own.

use std::sync::atomic::{AtomicBool, Ordering};

use alsa::pcm::{Access, Format, HwParams, PCM};
use alsa::{Direction, ValueOr};

use crate::known::{sample16, sample32};

/// Plays frames from `from` on, on channel 0, silence on the others. Says
/// `PLAYED frames` at the end, or panics if it came too late once.
pub(crate) fn play(pcm: &str, rate: u32, channels: u32, bits: u32, from: u64, seconds: f64) {
    let pcm = PCM::new(pcm, Direction::Playback, false).unwrap();
    {
        let params = HwParams::any(&pcm).unwrap();
        params.set_access(Access::RWInterleaved).unwrap();
        params
            .set_format(if bits == 16 {
                Format::s16()
            } else {
                Format::s32()
            })
            .unwrap();
        params.set_channels(channels).unwrap();
        params.set_rate(rate, ValueOr::Nearest).unwrap();
        params.set_buffer_size_near(i64::from(rate)).unwrap();
        pcm.hw_params(&params).unwrap();
        let software = pcm.sw_params_current().unwrap();
        software.set_start_threshold(i64::from(rate) / 2).unwrap();
        pcm.sw_params(&software).unwrap();
    }
    println!("PLAYING");
    let end = from + (f64::from(rate) * seconds) as u64;
    let mut next = from;
    while next < end {
        let block = next..(next + 512).min(end);
        let frames = (block.end - block.start) as usize;
        if bits == 16 {
            let samples: Vec<i16> = block
                .flat_map(|i| (0..channels).map(move |c| if c == 0 { sample16(i) } else { 0 }))
                .collect();
            assert_eq!(pcm.io_i16().unwrap().writei(&samples).unwrap(), frames);
        } else {
            let samples: Vec<i32> = block
                .flat_map(|i| (0..channels).map(move |c| if c == 0 { sample32(i) } else { 0 }))
                .collect();
            assert_eq!(pcm.io_i32().unwrap().writei(&samples).unwrap(), frames);
        }
        next += frames as u64;
    }
    println!("PLAYED {}", end - from);
    // Dropped, not drained: capture is over by now.
}

/// Plays silence for as long as it may, at 48 kHz in periods of 128 frames.
pub(crate) fn silence(pcm: &str, go: &AtomicBool) {
    let pcm = PCM::new(pcm, Direction::Playback, false).unwrap();
    {
        let params = HwParams::any(&pcm).unwrap();
        params.set_access(Access::RWInterleaved).unwrap();
        params.set_format(Format::s16()).unwrap();
        params.set_channels(2).unwrap();
        params.set_rate(48_000, ValueOr::Nearest).unwrap();
        params.set_period_size_near(128, ValueOr::Nearest).unwrap();
        params.set_buffer_size_near(4096).unwrap();
        pcm.hw_params(&params).unwrap();
    }
    let block = [0i16; 512];
    while go.load(Ordering::Relaxed) {
        if let Err(error) = pcm.io_i16().unwrap().writei(&block) {
            pcm.try_recover(error, true).unwrap();
        }
    }
    pcm.drop().unwrap();
}
