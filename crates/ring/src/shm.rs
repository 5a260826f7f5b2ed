//! Shared memory: a sealed memfd and its mirrored map. The only file that maps.
//!
//! ```text
//! file    │ header │ lane a │ lane b │ …
//!
//! memory  │ header │ lane a │ lane a │ lane b │ lane b │ …
//!                   ▲        ▲
//!                   one reservation; each lane twice, back to back, so that
//!                   any stretch up to a lane's length is contiguous
//! ```

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapMut, MmapOptions, MmapRaw};
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::ftruncate;

use crate::error::{Error, ErrorKind, Result};

/// What every section's offset and length is a multiple of: the largest page
/// size that Linux uses (arm64), so that a layout maps everywhere.
pub const ALIGNMENT: usize = 65_536;

/// The seals that a ring carries: its size is final, and no writable map of it
/// can be made any more (the writer's, made before, stays).
pub const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_FUTURE_WRITE)
    .union(SealFlag::F_SEAL_SEAL);

/// A stretch of the file and how it is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Offset in the file, in bytes; a multiple of [`ALIGNMENT`].
    pub offset: usize,
    /// Length in bytes; a multiple of [`ALIGNMENT`], not zero.
    pub length: usize,
    /// Mapped twice, back to back.
    pub mirrored: bool,
}

impl Section {
    fn mapped_length(&self) -> usize {
        self.length * (1 + usize::from(self.mirrored))
    }
}

/// Whether a map can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The engine's own map, made before the memory is sealed.
    Write,
    /// Everybody else's.
    Read,
}

/// Sections of a file in memory, unmapped when dropped.
#[derive(Debug)]
pub struct Map {
    reservation: MmapRaw,
    /// Offset in the reservation and mapped length, by section.
    placed: Vec<(usize, usize)>,
    /// Length without the mirror, by section.
    lengths: Vec<usize>,
    access: Access,
}

impl Map {
    /// Maps `sections` of `file`, their pages present.
    ///
    /// Fails with [`ErrorKind::Invalid`] if a section is empty, not aligned or
    /// not inside the file, and with [`ErrorKind::System`] if the kernel refuses.
    pub fn new(file: BorrowedFd<'_>, sections: &[Section], access: Access) -> Result<Self> {
        let size = file_size(file)?;
        let mut placed = Vec::with_capacity(sections.len());
        let mut total = 0_usize;
        for section in sections {
            let fits = section
                .offset
                .checked_add(section.length)
                .is_some_and(|end| end <= size);
            let aligned = section.offset.is_multiple_of(ALIGNMENT)
                && section.length.is_multiple_of(ALIGNMENT);
            if !fits || !aligned || section.length == 0 || section.length > isize::MAX as usize / 4
            {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("the shared memory of {size} bytes has no section {section:?}"),
                ));
            }
            placed.push((total, section.mapped_length()));
            total = total.checked_add(section.mapped_length()).ok_or_else(|| {
                Error::new(
                    ErrorKind::Invalid,
                    "the sections are larger than the address space",
                )
            })?;
        }
        // Alignment above the page size is not needed: offsets and lengths are
        // multiples of every page size, and the reservation starts on a page.
        let reservation = MmapOptions::new()
            .len(total)
            .no_reserve_swap()
            .map_anon()
            .map(|memory: MmapMut| MmapRaw::from(memory))
            .map_err(|cause| Error::system("cannot reserve address space for the ring", cause))?;
        let map = Self {
            reservation,
            placed,
            lengths: sections.iter().map(|section| section.length).collect(),
            access,
        };
        for (section, &(at, _)) in sections.iter().zip(&map.placed) {
            for copy in 0..=usize::from(section.mirrored) {
                map.place(file, section, at + copy * section.length)?;
            }
        }
        map.keep_out_of_cores();
        Ok(map)
    }

    /// Lays one copy of a section over the reservation at `at`.
    fn place(&self, file: BorrowedFd<'_>, section: &Section, at: usize) -> Result<()> {
        let protection = match self.access {
            Access::Write => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            Access::Read => ProtFlags::PROT_READ,
        };
        let address = NonZeroUsize::new(self.reservation.as_mut_ptr() as usize + at);
        let length = NonZeroUsize::new(section.length).expect("checked by `new`");
        // SAFETY:
        // - the target range lies inside our own reservation (`new` summed the
        //   mapped lengths), so MAP_FIXED replaces nothing but it;
        // - nothing refers into the reservation yet: `self` is still private to `new`;
        // - when `reservation` is dropped it unmaps the whole range, this map included,
        //   also when a later placement fails.
        unsafe {
            mmap(
                address,
                length,
                protection,
                MapFlags::MAP_SHARED | MapFlags::MAP_FIXED | MapFlags::MAP_POPULATE,
                file,
                section.offset as libc::off_t,
            )
        }
        .map_err(|cause| Error::system("cannot map the ring", cause))?;
        Ok(())
    }

    /// A section's first byte and mapped length (twice the section's if mirrored).
    /// The memory may change at any moment: only atomics or raw reads go there.
    pub fn section(&self, index: usize) -> (NonNull<u8>, usize) {
        let (at, length) = self.placed[index];
        // SAFETY: `at` lies inside the reservation, which is not null.
        (
            unsafe { NonNull::new_unchecked(self.reservation.as_mut_ptr().add(at)) },
            length,
        )
    }

    /// A word of a section of a map that may be written, at a byte offset. Others may look at
    /// it at any time.
    ///
    /// # Panics
    /// If it doesn't lie in the section, or the map is for reading only.
    pub fn word(&self, section: usize, offset: usize) -> &AtomicU64 {
        let (start, length) = self.section(section);
        assert!(offset.is_multiple_of(8) && offset + 8 <= length && self.access == Access::Write);
        // SAFETY: inside the section and aligned (asserted; sections start on pages), mapped
        // writable for as long as `self` lives; any bit pattern is an atomic.
        unsafe { start.add(offset).cast::<AtomicU64>().as_ref() }
    }

    /// Whether the memory may be written through this map.
    pub fn access(&self) -> Access {
        self.access
    }

    /// What was heard doesn't end up in a core file, of whatever process. Where the
    /// kernel has no such advice, there is nothing else to do.
    fn keep_out_of_cores(&self) {
        let start = self.start();
        // SAFETY: the range is our own map; MADV_DONTDUMP changes neither its
        // content nor its validity.
        let _ = unsafe { madvise(start, self.reservation.len(), MmapAdvise::MADV_DONTDUMP) };
    }

    fn start(&self) -> NonNull<c_void> {
        NonNull::new(self.reservation.as_mut_ptr().cast()).expect("a map has an address")
    }

    /// Keeps the map in RAM; says which limit forbids it.
    ///
    /// Of a mirrored section one copy is locked: both are the same pages, and
    /// the limit would count them twice.
    pub fn lock(&self) -> Result<()> {
        let start = self.start();
        for (&(at, _), &length) in self.placed.iter().zip(&self.lengths) {
            // SAFETY: the range lies inside our own map; locking changes neither
            // its content nor its validity.
            unsafe { mlock(start.byte_add(at), length) }
                .map_err(|cause| Error::system("cannot lock the ring in memory", cause))?;
        }
        Ok(())
    }
}

/// New memory of `size` zero bytes, allocated at once so that a later write
/// can't fail, not yet sealed.
pub fn create(name: &str, size: usize) -> Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Linux 6.3 and newer: no executable memory; older kernels refuse the flag.
    let file = memfd_create(
        name,
        flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL),
    )
    .or_else(|_| memfd_create(name, flags))
    .map_err(|cause| Error::system("cannot create shared memory", cause))?;
    let size = size as libc::off_t;
    ftruncate(&file, size)
        .and_then(|()| fallocate(&file, FallocateFlags::empty(), 0, size))
        .and_then(|()| fchmod(&file, Mode::S_IRUSR | Mode::S_IWUSR))
        .map_err(|cause| {
            Error::system(
                format!("cannot allocate {size} bytes of shared memory"),
                cause,
            )
        })?;
    Ok(file)
}

/// Seals the memory for good, see [`SEALS`].
pub fn seal(file: BorrowedFd<'_>) -> Result<()> {
    fcntl(file, FcntlArg::F_ADD_SEALS(SEALS))
        .map(|_| ())
        .map_err(|cause| Error::system("cannot seal the shared memory", cause))
}

/// Checks that a descriptor received from elsewhere is memory that can neither
/// shrink under a reader (which would be SIGBUS) nor be written by others later.
pub fn check_sealed(file: BorrowedFd<'_>) -> Result<()> {
    let seals = fcntl(file, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_retain);
    match seals {
        Ok(seals) if seals.contains(SEALS) => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Protocol,
            "the descriptor received is not sealed shared memory; is this a v2m-engine?",
        )),
    }
}

/// Checks that all of a sealed file's memory is there already. A writer allocates it at
/// once; where it has holes, mapping it would take memory that nobody has yet. (Sealed as it
/// is, it can't get any later.)
pub fn check_present(file: BorrowedFd<'_>) -> Result<()> {
    let known =
        fstat(file).map_err(|cause| Error::system("cannot look at the shared memory", cause))?;
    match known.st_blocks.saturating_mul(512) >= known.st_size {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Protocol,
            "the shared memory received has holes; is this a v2m-engine?",
        )),
    }
}

/// A second descriptor of the same memory that cannot even be asked to write.
pub fn read_only(file: BorrowedFd<'_>) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    nix::fcntl::open(
        path.as_str(),
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(|cause| Error::system("cannot reopen the shared memory read-only", cause))
}

/// The size of a file in bytes.
pub fn file_size(file: BorrowedFd<'_>) -> Result<usize> {
    let size = fstat(file)
        .map_err(|cause| Error::system("cannot look at the shared memory", cause))?
        .st_size;
    usize::try_from(size).map_err(|_| Error::new(ErrorKind::Protocol, "a file of negative size"))
}
