//! A build without ONNX Runtime: its models are refused by name, and speech is found all the same.

use v2m_engine::detect::backend::{ModelBackend, Settings};
use v2m_engine::detect::detector::Detector;

const ENGINE: &str = env!("CARGO_BIN_EXE_v2m-engine");

fn open(backend: ModelBackend) -> Result<String, String> {
    let settings = Settings {
        backend,
        ..Settings::default()
    };
    match Detector::open(&settings) {
        Ok(detector) => Ok(detector.map_or_else(String::new, |one| one.name().into())),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn its_models_are_refused_by_name() {
    let said = open(ModelBackend::Ort).unwrap_err();
    assert!(said.contains("ONNX Runtime"), "{said}");
    assert!(said.contains("feature ort"), "{said}");
}

#[test]
fn the_built_in_model_runs() {
    let name = open(Settings::default().backend).unwrap();
    assert!(name.contains("silero"), "{name}");
}

#[test]
fn nothing_of_it_is_in_the_program() {
    let program = std::fs::read(ENGINE).unwrap();
    let entry = b"OrtGetApiBase";
    assert!(!program.windows(entry.len()).any(|window| window == entry));
}
