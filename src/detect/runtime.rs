//! Where ONNX Runtime is: each place looked at before anything is loaded for good.
//!
//! The order: the path configured, `ORT_DYLIB_PATH`, the package's own
//! directory, the Python package `onnxruntime`, the system's linker.
//!
//! From 1.29 on ONNX Runtime as PyPI has it collects telemetry below
//! `~/.cache/Microsoft` unless `ORT_DISABLE_TELEMETRY=1` is in the environment
//! before it loads. Setting a variable is only safe while no other thread runs, so
//! [`no_telemetry`] comes first in `main`; other programs set it in the environment that
//! they are started with. [`find`] refuses to load the library without it.

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};
use std::ffi::{CStr, OsStr, c_char, c_void};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use v2m_error::{Error, ErrorKind, Result};

/// The oldest release that will do: 1.20.
pub const OLDEST: u32 = ::ort::MINOR_VERSION;
/// Set to anything but `0`, it keeps ONNX Runtime from collecting telemetry.
pub const QUIET: &str = "ORT_DISABLE_TELEMETRY";

/// ONNX Runtime, should it be loaded, reports to nobody, unless the user wants it to. For a
/// process of one thread; others are left as they are.
pub fn no_telemetry() {
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1);
    if alone && std::env::var_os(QUIET).is_none() {
        // SAFETY: no other thread reads the environment meanwhile: there is none (just seen),
        // and only this one could start it.
        unsafe { std::env::set_var(QUIET, "1") };
    }
}

const SONAME: &str = "libonnxruntime.so";
const SYSTEM: &[&str] = &[
    "/usr/local/lib",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
];

/// Places that the caller knows of.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The library as configured; nothing else will do then.
    pub configured: Option<PathBuf>,
    /// The directory of the package that this program is part of.
    pub package: Option<PathBuf>,
    /// The directory of the Python package `onnxruntime`.
    pub python: Option<PathBuf>,
}

/// An ONNX Runtime that loads and is new enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// The library.
    pub path: PathBuf,
    /// As it says itself, such as `1.21.0`.
    pub version: String,
    /// Which of the places it was found in, for `status`.
    pub place: &'static str,
}

/// The first usable ONNX Runtime, by the order of the module.
///
/// Errors: [`ErrorKind::Unavailable`], naming every place looked at, why each
/// would not do, and how to get it; [`ErrorKind::Invalid`] if a path was
/// configured and is not usable.
pub fn find(places: &Places) -> Result<Runtime> {
    let quiet = std::env::var_os(QUIET);
    if quiet.is_none_or(|value| value.is_empty() || value == "0") {
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "ONNX Runtime may not be loaded: it would collect telemetry; set {QUIET}=1 in the environment of this program"
            ),
        ));
    }
    if let Some(path) = &places.configured {
        let look = look(path, "configuration");
        return look.map_err(|why| {
            let path = path.display();
            Error::new(
                ErrorKind::Invalid,
                format!("cannot use the configured ONNX Runtime {path}: {why}; name the file libonnxruntime.so of release 1.{OLDEST} or newer"),
            )
        });
    }
    let mut seen = String::new();
    for (place, candidates) in candidates(places) {
        if candidates.is_empty() {
            let _ = write!(seen, "; {place}: none");
        }
        for path in candidates {
            match look(&path, place) {
                Ok(runtime) => return Ok(runtime),
                Err(why) => drop(write!(seen, "; {place}: {}: {why}", path.display())),
            }
        }
    }
    let seen = seen.trim_start_matches("; ");
    Err(Error::new(
        ErrorKind::Unavailable,
        format!(
            "no ONNX Runtime 1.{OLDEST} or newer found ({seen}); install it (pip install onnxruntime, or the package libonnxruntime) or set ORT_DYLIB_PATH"
        ),
    ))
}

/// The libraries to look at, place by place.
fn candidates(places: &Places) -> Vec<(&'static str, Vec<PathBuf>)> {
    let in_environment = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
    let python = places.python.as_deref().map(|package| package.join("capi"));
    // The linker knows of more directories than these, but only by full name.
    let mut system = vec![PathBuf::from(SONAME), PathBuf::from(format!("{SONAME}.1"))];
    system.extend(
        SYSTEM
            .iter()
            .flat_map(|directory| libraries(Path::new(directory))),
    );
    vec![
        (
            "ORT_DYLIB_PATH",
            in_environment.into_iter().map(PathBuf::from).collect(),
        ),
        (
            "the package's own directory",
            places.package.iter().flat_map(|d| libraries(d)).collect(),
        ),
        (
            "the Python package onnxruntime",
            python.iter().flat_map(|d| libraries(d)).collect(),
        ),
        ("the system", system),
    ]
}

/// The files of `directory` that are named like ONNX Runtime, newest release first.
fn libraries(directory: &Path) -> Vec<PathBuf> {
    let release = |path: &PathBuf| -> Option<Vec<u32>> {
        let rest = path
            .file_name()
            .and_then(OsStr::to_str)?
            .strip_prefix(SONAME)?;
        rest.split_terminator('.')
            .skip(1)
            .map(|number| number.parse().ok())
            .collect()
    };
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|e| e.path())
        .filter_map(|p| Some((release(&p)?, p)))
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The head of ONNX Runtime's C API (`OrtApiBase`), the same in every release.
#[repr(C)]
struct ApiBase {
    api: *const c_void,
    version: Option<unsafe extern "C" fn() -> *const c_char>,
}

/// Loads a library, asks for its version, and says why it won't do.
fn look(path: &Path, place: &'static str) -> Result<Runtime, String> {
    if path.components().count() > 1 && !path.exists() {
        return Err("no such file".into());
    }
    // SAFETY: loading runs the library's initialisers. The name and the places
    // are ONNX Runtime's, and whoever can write there, or to this process'
    // environment and configuration, could run code as this user anyway.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|e| match std::error::Error::source(&e) {
        Some(cause) => format!("does not load ({cause})"),
        None => format!("does not load ({e})"),
    })?;
    // SAFETY: the symbol has this type in all releases of ONNX Runtime (onnxruntime_c_api.h).
    let base: Result<Symbol<unsafe extern "C" fn() -> *const ApiBase>, _> =
        unsafe { library.get(b"OrtGetApiBase\0") };
    let base = base.map_err(|_| "is not ONNX Runtime (no OrtGetApiBase)".to_string())?;
    // SAFETY: takes nothing and returns a static.
    let version = unsafe { base().as_ref() }.and_then(|base| base.version);
    let version = version.ok_or("tells no version")?;
    // SAFETY: takes nothing and returns a static, zero-terminated string.
    let version = unsafe { CStr::from_ptr(version()) }
        .to_string_lossy()
        .into_owned();
    let path = origin(base.into_raw()).unwrap_or_else(|| path.to_path_buf());
    // Never unloaded again: its destructors are not made for that.
    std::mem::forget(library);

    let mut numbers = version
        .split('.')
        .map(|number| number.parse::<u32>().unwrap_or(0));
    match (numbers.next(), numbers.next()) {
        (Some(1), Some(minor)) if minor >= OLDEST => Ok(Runtime {
            path,
            version,
            place,
        }),
        (Some(1), Some(_)) => Err(format!("is {version}, older than 1.{OLDEST}")),
        _ => Err(format!("is {version}, not 1.{OLDEST} or a later 1.x")),
    }
}

/// The file that a symbol came from, which a bare name does not tell.
fn origin(symbol: *mut c_void) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: any address may be asked for; `info` is written to only. All
    // zeroes are a valid Dl_info; on success its file name is a string that
    // lives as long as the library, which is still loaded here.
    let name = unsafe {
        if libc::dladdr(symbol, info.as_mut_ptr()) == 0 {
            return None;
        }
        let info = info.assume_init();
        if info.dli_fname.is_null() {
            return None;
        }
        CStr::from_ptr(info.dli_fname)
    };
    let path = Path::new(OsStr::from_bytes(name.to_bytes()));
    path.is_absolute().then(|| path.to_path_buf())
}
