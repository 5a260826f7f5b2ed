//! ONNX Runtime: how it is looked for, and that it gives what the native model gives.
//!
//! The search depends on the environment, so each test runs itself again as a
//! process of its own with the one it needs.

use std::path::PathBuf;
use std::process::Command;
use v2m_dsp::vad::hearing::Hearing;
use v2m_dsp::vad::native::Native;
use v2m_dsp::vad::{Model, WINDOW};
use v2m_engine::detect::ort::Ort;
use v2m_engine::detect::runtime::{Places, QUIET, find};
use v2m_error::ErrorKind;

/// True in the process that has the environment; else runs it and returns false.
fn within(test: &str, environment: &[(&str, &str)]) -> bool {
    if std::env::var_os("V2M_TEST_WITHIN").is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args([&format!("vad_ort::{test}"), "--exact", "--include-ignored"])
        .env("V2M_TEST_WITHIN", "1");
    command
        .env_remove(QUIET)
        .env_remove("ORT_DYLIB_PATH")
        .envs(environment.iter().copied());
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    false
}

/// A directory with a file that has the name of the library and is not it.
fn decoy() -> PathBuf {
    let directory = std::env::temp_dir().join(format!("v2m-decoy-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    std::fs::write(directory.join("libonnxruntime.so.1.99"), "not a library").expect("a file");
    directory
}

#[test]
fn nothing_loads_where_it_would_collect_telemetry() {
    if within("nothing_loads_where_it_would_collect_telemetry", &[]) {
        let error = find(&Places::default()).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            error.to_string().contains("ORT_DISABLE_TELEMETRY=1"),
            "{error}"
        );
    }
}

#[test]
fn a_configured_library_that_will_not_do_is_an_error_of_its_own() {
    let test = "a_configured_library_that_will_not_do_is_an_error_of_its_own";
    if within(test, &[(QUIET, "1")]) {
        let directory = decoy();
        // The last one loads, but is another library.
        for (path, why) in [
            (directory.join("libonnxruntime.so.1.99"), "does not load"),
            (directory.join("missing.so"), "no such file"),
            (PathBuf::from("libm.so.6"), "not ONNX Runtime"),
        ] {
            let places = Places {
                configured: Some(path.clone()),
                ..Places::default()
            };
            let error = find(&places).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let path = path.display().to_string();
            assert!(error.to_string().contains(&path), "{error}");
            assert!(error.to_string().contains(why), "{error}");
        }
        std::fs::remove_dir_all(directory).expect("it was made above");
    }
}

#[test]
fn a_failed_search_names_every_place() {
    let environment = [
        (QUIET, "1"),
        ("ORT_DYLIB_PATH", "/nonexistent/libonnxruntime.so"),
    ];
    if within("a_failed_search_names_every_place", &environment) {
        let package = decoy();
        let places = Places {
            package: Some(package.clone()),
            ..Places::default()
        };
        match find(&places) {
            // A machine that has it: then it is the system's, the last in order.
            Ok(runtime) => assert_eq!(runtime.place, "the system"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                let decoy = package.join("libonnxruntime.so.1.99").display().to_string();
                for part in [
                    "ORT_DYLIB_PATH: /nonexistent/libonnxruntime.so: no such file",
                    &format!("the package's own directory: {decoy}: does not load"),
                    "the Python package onnxruntime: none",
                    "the system: libonnxruntime.so: does not load",
                    "pip install onnxruntime",
                ] {
                    assert!(error.to_string().contains(part), "{part:?} not in: {error}");
                }
                assert_eq!(Ort::new(&places, None).err(), Some(error));
            }
        }
        std::fs::remove_dir_all(package).expect("it was made above");
    }
}

#[test]
#[ignore = "needs V2M_ONNXRUNTIME, the directory of the Python package onnxruntime"]
fn ort_and_native_agree() {
    if within("ort_and_native_agree", &[(QUIET, "1")]) {
        let python = std::env::var_os("V2M_ONNXRUNTIME").map(PathBuf::from);
        let places = Places {
            python: Some(python.expect("V2M_ONNXRUNTIME")),
            ..Places::default()
        };
        let missing = Ort::new(&places, Some("/nonexistent.onnx".as_ref())).err();
        assert_eq!(missing.map(|e| e.kind()), Some(ErrorKind::Invalid));
        let ort = || Ort::new(&places, None).expect("ONNX Runtime and the embedded model");
        let samples = include_bytes!("../data/vad_golden.i16")
            .as_chunks()
            .0
            .iter();
        let samples: Vec<f32> = samples
            .map(|b| f32::from(i16::from_le_bytes(*b)) / 32768.0)
            .collect();
        for hearing in [Hearing::Plain, Hearing::Enhanced] {
            let (ort, native) = (Box::new(ort()), Box::new(Native::new()));
            agree(hearing.apply(ort), hearing.apply(native), &samples);
        }
    }
}

fn agree(mut ort: Box<dyn Model>, mut native: Box<dyn Model>, samples: &[f32]) {
    // Twice: as new after a reset.
    for _ in 0..2 {
        for (n, window) in samples.as_chunks::<WINDOW>().0.iter().enumerate() {
            let mut window = *window;
            if n % 50 == 0 {
                window[500..].fill(f32::NAN);
            }
            let (a, b) = (
                ort.probability(&window).expect("it runs"),
                native.probability(&window).expect("it can't fail"),
            );
            assert!((a - b).abs() <= 1e-4, "window {n}: {a} and {b}");
        }
        ort.reset();
        native.reset();
    }
    assert!(native.unusable_samples() > 0);
    assert_eq!(ort.unusable_samples(), native.unusable_samples());
}
