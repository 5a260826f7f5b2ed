//! What files and flags come to.

use super::*;
use crate::detect::backend::ModelBackend;
use crate::detect::place::Cpu;
use v2m_dsp::vad::hearing::Hearing;

fn error(text: &str) -> String {
    Layer::parse(text, Path::new("/x/config.toml"))
        .unwrap_err()
        .to_string()
}

#[test]
fn errors_name_file_line_and_key() {
    let unknown = error("source = \"default\"\n\nsorce = 3\n");
    assert!(
        unknown.starts_with("/x/config.toml:3: sorce: unknown field"),
        "{unknown}"
    );
    let wrong = error("# hello\nlatency = \"fast\"\n");
    assert!(
        wrong.starts_with("/x/config.toml:2: latency: ") && wrong.contains("128/48000"),
        "{wrong}"
    );
    let kind = error("history = \"long\"\n");
    assert!(kind.starts_with("/x/config.toml:1: history: "), "{kind}");
    let channel = error("channel = \"left ear\"\n");
    assert!(
        channel.starts_with("/x/config.toml:1: channel: ") && channel.contains("auto, mix"),
        "{channel}"
    );
    for gain in ["60.1", "-61", "nan", "inf"] {
        let gain = error(&format!("gain = {gain}\n"));
        assert!(
            gain.starts_with("/x/config.toml:1: gain: not between -60 and 60 dB"),
            "{gain}"
        );
    }
    let highpass = error("highpass = 1001\n");
    assert!(
        highpass.contains(":1: highpass: not between 0 and 1000 Hz"),
        "{highpass}"
    );
    let range = error("pace = true\nhistory = 3\n");
    assert!(range.starts_with("/x/config.toml:2: history: "), "{range}");
    let table = error("[alsa]\nfallback = \"off\"\nperiod = 8\n");
    assert!(
        table.starts_with("/x/config.toml:3: alsa.period: not between 16 and 65536"),
        "{table}"
    );
    let nested = error("[alsa]\nperoid = 128\n");
    assert!(
        nested.starts_with("/x/config.toml:2: alsa.peroid: unknown field"),
        "{nested}"
    );
    let syntax = error("source = \n");
    assert!(
        syntax.starts_with("/x/config.toml:1: source: ") && !syntax.contains('\n'),
        "{syntax}"
    );
    for (text, start) in [
        (
            "[vad]\nbackend = 'fast'\n",
            "2: vad.backend: unknown variant",
        ),
        (
            "pace = true\n\n[vad]\n# 1\ncpu = -1\n",
            "5: vad.cpu: expected auto, off or",
        ),
        ("[vad]\ncpu = 'none'\n", "2: vad.cpu: "),
        ("[vad]\ncpu = 9999\n", "2: vad.cpu: 9999 is no CPU"),
        (
            "[vad]\nhearing = 'better'\n",
            "2: vad.hearing: \"better\" is no way of hearing: write enhanced or plain",
        ),
        ("[vad]\nmodel = 3\n", "2: vad.model: "),
        (
            "[vad]\nthreshold = 0.5\n",
            "2: vad.threshold: unknown field",
        ),
        ("vad = 3\n", "1: vad: "),
        ("vad.backend = 3\n", "1: vad.backend: "),
        ("[wad]\ncpu = 1\n", "1: [wad]: unknown field"),
    ] {
        let error = error(text);
        assert!(
            error.starts_with(&format!("/x/config.toml:{start}")),
            "{error}"
        );
    }
}

#[test]
fn speech_detection_has_its_own_table() {
    let file = "history = 5\n[vad]\nbackend = \"ort\"\nhearing = \"plain\"\ncpu = 1\nonnxruntime = \"/o.so\"\n";
    let file = Layer::parse(file, Path::new("x")).unwrap();
    let flags = Layer {
        vad: VadLayer {
            cpu: Some(Cpu::Off),
            model: Some("m".into()),
            ..VadLayer::default()
        },
        ..Layer::default()
    };
    let vad = Config::from_layer(flags.over(file)).unwrap().vad;
    assert_eq!((vad.backend, vad.cpu), (ModelBackend::Ort, Cpu::Off));
    assert_eq!(vad.hearing, Hearing::Plain);
    assert_eq!(vad.onnxruntime, Some("/o.so".into()));
    assert_eq!(vad.model, Some("m".into()));
    let none = Config::from_layer(Layer::default()).unwrap().vad;
    assert_eq!(none, Settings::default());
}

#[test]
fn a_node_called_as_another_kind_of_source_can_be_named() {
    for name in [
        "clean", "clean:x", "file:x", "file:-", "alsa:x", "null:", "default", "node:x",
    ] {
        let node = SourceSpec::Pipewire(Source::Node(name.to_owned()));
        let alone = name.parse::<SourceSpec>();
        assert_ne!(alone.ok(), Some(node.clone()), "{name}");
        assert_eq!(node.to_string().parse::<SourceSpec>().unwrap(), node);
    }
}

#[test]
fn flags_win_over_files() {
    let flags = Layer {
        source: Some(SourceSpec::Pipewire(Source::Node("mic".into()))),
        ..Layer::default()
    };
    let file = Layer::parse(
        "source = \"monitor:speakers\"\nhistory = 100\n",
        Path::new("x"),
    )
    .unwrap();
    let config = Config::from_layer(flags.over(file)).unwrap();
    assert_eq!(
        config.source,
        SourceSpec::Pipewire(Source::Node("mic".into()))
    );
    assert_eq!(config.history, 1_600_000);
    assert_eq!(config.latency, Quantum::DEFAULT);
    assert_eq!(config.fallback, Fallback::Auto);
}

#[test]
fn the_alsa_table_is_layered_key_by_key() {
    let parse = |text| Layer::parse(text, Path::new("x")).unwrap();
    let user = parse("[alsa]\nfallback = \"hw:1\"\nperiod = 64\n");
    let system = parse("alsa.period = 256\nalsa.periods = 8\n");
    let config = Config::from_layer(user.over(system)).unwrap();
    assert_eq!(config.fallback, Fallback::Pcm("hw:1".into()));
    assert_eq!(
        (config.alsa.period, config.alsa.periods),
        (Some(64), Some(8))
    );
}

#[test]
fn clients_get_the_shortest_quantum_within_limits() {
    let config = Config::from_layer(Layer {
        latency_lowest: Some("64/48000".parse().unwrap()),
        ..Layer::default()
    });
    let config = config.unwrap();
    let latency = |text: &str| Some(text.parse::<Quantum>().unwrap());
    assert_eq!(config.quantum_for([].into_iter()), None);
    assert_eq!(
        config.quantum_for([None].into_iter()),
        Some(Quantum::DEFAULT)
    );
    let asked = [latency("1024/48000"), latency("32/48000")];
    assert_eq!(config.quantum_for(asked.into_iter()), latency("64/48000"));
}

#[test]
fn a_pcms_name_is_no_longer_than_alsa_lib_bears() {
    let named = |length: usize| format!("alsa:{}", "x".repeat(length)).parse::<SourceSpec>();
    assert!(named(200).is_ok());
    let refused = named(201).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("has 201 bytes"), "{refused}");
}

#[test]
fn no_pcm_is_asked_for_that_writes_where_its_name_says() {
    for pcm in [
        "file:/home/user/.profile",
        "file:'/x',raw",
        "tee:hw,'/x',raw",
        "plug:file:/x",
        "plug:SLAVE='tee:hw,/x'",
        "plug:{SLAVE={type file file /x}}",
        "file",
    ] {
        let refused = format!("alsa:{pcm}").parse::<SourceSpec>().unwrap_err();
        assert!(
            refused.to_string().contains("may write a file"),
            "{refused}"
        );
    }
    for pcm in [
        "default",
        "hw:CARD=USB,DEV=0",
        "plughw:1",
        "profile",
        "dsnoop:CARD=teeth",
    ] {
        assert!(format!("alsa:{pcm}").parse::<SourceSpec>().is_ok(), "{pcm}");
    }
}

#[test]
fn a_node_has_a_name() {
    for name in ["''", "'  '"] {
        let error = Config::parse(&format!("node_name = {name}\n")).unwrap_err();
        assert!(error.to_string().contains("node_name is empty"), "{error}");
    }
}
