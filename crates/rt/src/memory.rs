//! Pages that stay in memory, and a CPU that doesn't sleep too deep.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::Write;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use super::{Grant, raise, registry, sys, thread_id};

/// What a real-time thread of ours may use of its stack, in bytes.
const STACK: usize = 128 * 1024;

/// Keeps `len` bytes from `start` in memory, within RLIMIT_MEMLOCK. They may be
/// unmapped at any time; that unlocks them.
pub fn lock(what: &str, start: *const u8, len: usize) -> Grant {
    lock_all(what, &[(start, len)])
}

/// The same for several stretches, which are one thing.
pub fn lock_all(what: &str, parts: &[(*const u8, usize)]) -> Grant {
    let total = parts.iter().map(|(_, len)| len).sum();
    lock_by(what, total, || {
        parts
            .iter()
            .try_for_each(|&(start, len)| sys::mlock(start, len))
    })
}

/// The same for `len` bytes that `lock` locks.
pub fn lock_by<E: std::fmt::Display>(
    what: &str,
    len: usize,
    lock: impl FnOnce() -> Result<(), E>,
) -> Grant {
    raise(Resource::RLIMIT_MEMLOCK);
    let result = lock().map_err(|error| {
        let limit = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft);
        if limit == RLIM_INFINITY {
            error.to_string()
        } else {
            format!(
                "{error}; RLIMIT_MEMLOCK is {} KiB for the whole process",
                limit / 1024
            )
        }
    });
    let grant = Grant::new(format!("{what}: {} KiB locked", len.div_ceil(1024)), result);
    registry::granted(&grant);
    grant
}

/// Makes the calling thread's stack real down to 128 KiB below here, and locks
/// it: no page fault there afterwards.
#[inline(never)]
pub fn lock_stack() -> Grant {
    let mut stack = [0u8; STACK];
    for page in stack.chunks_mut(1024) {
        page[0] = 1;
    }
    black_box(&mut stack);
    lock(&stack_name(thread_id()), stack.as_ptr(), stack.len())
}

/// The same for another thread of this process, which uses its stack up to
/// `address`: of a thread that must not be held up, or isn't ours.
pub fn lock_stack_of(tid: i32, address: usize) -> Grant {
    let lowest = std::ptr::without_provenance(address.saturating_sub(STACK));
    lock(&stack_name(tid), lowest, STACK)
}

fn stack_name(tid: i32) -> String {
    format!("stack of {}", registry::name(tid).unwrap_or_default())
}

/// Asks the kernel for no sleep state that takes time to wake from, for as long
/// as it lives. Costs power: hold it while capturing only.
#[derive(Debug)]
pub struct DmaLatency {
    _file: Option<File>,
    grant: Grant,
}

impl DmaLatency {
    /// Asks for 0 µs by `/dev/cpu_dma_latency`.
    pub fn hold() -> Self {
        let path = "/dev/cpu_dma_latency";
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| {
                file.write_all(&0i32.to_ne_bytes())?;
                Ok(file)
            });
        let (file, result) = match file {
            Ok(file) => (Some(file), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let grant = Grant::new(format!("{path} 0 µs"), result);
        registry::granted(&grant);
        Self { _file: file, grant }
    }

    /// Whether the kernel took the request.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }
}

impl Drop for DmaLatency {
    fn drop(&mut self) {
        registry::returned(&self.grant.asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_locks_and_what_is_no_memory_says_so() {
        let bytes = vec![1u8; 4096];
        let grant = lock("test", bytes.as_ptr(), bytes.len());
        assert!(grant.granted, "{grant:?}");
        assert!(lock_stack().granted);
        let grant = lock("nothing", std::ptr::without_provenance(4096), 4096);
        assert!(!grant.granted && grant.why_not.is_some());
    }

    #[test]
    fn latency_says_what_it_got() {
        let latency = DmaLatency::hold();
        assert_eq!(latency.grant().granted, latency.grant().why_not.is_none());
    }
}
