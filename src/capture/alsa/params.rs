//! What a PCM offers and what is agreed with it, in alsa-lib's own terms.

use std::ptr;

use alsa::pcm::{Access, Format};

use super::pcm::{Pcm, Result, check};

/// What a PCM can still do, narrowed step by step.
pub(super) struct Params<'a> {
    raw: *mut alsa_sys::snd_pcm_hw_params_t,
    pcm: &'a Pcm,
}

/// The lowest and the highest value.
pub(super) type Range = (u32, u32);

impl<'a> Params<'a> {
    /// Takes over `raw`, which `pcm` has allocated.
    pub(super) fn new(pcm: &'a Pcm, raw: *mut alsa_sys::snd_pcm_hw_params_t) -> Self {
        Self { raw, pcm }
    }

    /// Rates of the hardware only; a PCM without the choice doesn't matter.
    pub(super) fn no_resampling(&self) {
        // SAFETY: both are valid.
        unsafe { alsa_sys::snd_pcm_hw_params_set_rate_resample(self.pcm.handle, self.raw, 0) };
    }

    pub(super) fn set_access(&self, access: Access) -> Result<()> {
        // SAFETY: both are valid.
        check(unsafe {
            alsa_sys::snd_pcm_hw_params_set_access(self.pcm.handle, self.raw, access as _)
        })
        .map(drop)
    }

    pub(super) fn has_format(&self, format: Format) -> bool {
        // SAFETY: both are valid.
        unsafe {
            alsa_sys::snd_pcm_hw_params_test_format(self.pcm.handle, self.raw, format as _) == 0
        }
    }

    pub(super) fn set_format(&self, format: Format) -> Result<()> {
        // SAFETY: both are valid.
        check(unsafe {
            alsa_sys::snd_pcm_hw_params_set_format(self.pcm.handle, self.raw, format as _)
        })
        .map(drop)
    }

    pub(super) fn has_rate(&self, rate: u32) -> bool {
        // SAFETY: both are valid.
        unsafe { alsa_sys::snd_pcm_hw_params_test_rate(self.pcm.handle, self.raw, rate, 0) == 0 }
    }

    /// The rate that it became.
    pub(super) fn set_rate(&self, rate: u32) -> Result<u32> {
        let mut near = rate;
        // SAFETY: both are valid; `near` is in and out; no direction is wanted.
        check(unsafe {
            alsa_sys::snd_pcm_hw_params_set_rate_near(
                self.pcm.handle,
                self.raw,
                &mut near,
                ptr::null_mut(),
            )
        })?;
        Ok(near)
    }

    /// The number that it became.
    pub(super) fn set_channels(&self, channels: u32) -> Result<u32> {
        let mut near = channels;
        // SAFETY: both are valid; `near` is in and out.
        check(unsafe {
            alsa_sys::snd_pcm_hw_params_set_channels_near(self.pcm.handle, self.raw, &mut near)
        })?;
        Ok(near)
    }

    /// The length in frames that it became.
    pub(super) fn set_period(&self, period: usize) -> Result<usize> {
        let mut near = period as alsa_sys::snd_pcm_uframes_t;
        let mut direction = 0;
        // SAFETY: both are valid; the others are in and out.
        check(unsafe {
            alsa_sys::snd_pcm_hw_params_set_period_size_near(
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
        let mut near = buffer as alsa_sys::snd_pcm_uframes_t;
        // SAFETY: both are valid; `near` is in and out.
        check(unsafe {
            alsa_sys::snd_pcm_hw_params_set_buffer_size_near(self.pcm.handle, self.raw, &mut near)
        })?;
        Ok(near as usize)
    }

    pub(super) fn rates(&self) -> Range {
        let (mut low, mut high) = (0, 0);
        // SAFETY: valid parameters, out parameters of this frame.
        unsafe {
            alsa_sys::snd_pcm_hw_params_get_rate_min(self.raw, &mut low, ptr::null_mut());
            alsa_sys::snd_pcm_hw_params_get_rate_max(self.raw, &mut high, ptr::null_mut());
        }
        (low, high)
    }

    pub(super) fn channels(&self) -> Range {
        let (mut low, mut high) = (0, 0);
        // SAFETY: valid parameters, out parameters of this frame.
        unsafe {
            alsa_sys::snd_pcm_hw_params_get_channels_min(self.raw, &mut low);
            alsa_sys::snd_pcm_hw_params_get_channels_max(self.raw, &mut high);
        }
        (low, high)
    }

    /// Makes it so: the PCM is prepared.
    pub(super) fn apply(self) -> Result<()> {
        // SAFETY: both are valid.
        check(unsafe { alsa_sys::snd_pcm_hw_params(self.pcm.handle, self.raw) }).map(drop)
    }
}

impl Drop for Params<'_> {
    fn drop(&mut self) {
        // SAFETY: allocated by `Pcm::params`, freed once.
        unsafe { alsa_sys::snd_pcm_hw_params_free(self.raw) };
    }
}
