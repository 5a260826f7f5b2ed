# The engine with its manual pages, completions and units: `callPackage ./packaging/nix { }`.
# Parsed by this project's tests; not built with Nix by them.
{
  lib,
  alsa-lib,
  pipewire,
  pkg-config,
  rustPlatform,
  stdenv,
}:

rustPlatform.buildRustPackage {
  pname = "v2m-engine";
  version = "0.2.0";

  src = lib.cleanSource ../..;
  cargoLock.lockFile = ../../Cargo.lock;

  # bindgenHook: the headers of PipeWire and ALSA are read when it is compiled.
  nativeBuildInputs = [
    pkg-config
    rustPlatform.bindgenHook
  ];
  buildInputs = [
    alsa-lib
    pipewire
  ];

  cargoBuildFlags = [
    "--package=v2m-engine"
    "--package=v2m-generate"
  ];
  # They need a machine of their own: `make test`.
  doCheck = false;

  installPhase = ''
    runHook preInstall
    patchShebangs packaging
    release=target/${stdenv.hostPlatform.rust.rustcTarget}/release
    staged=$(mktemp -d)
    packaging/install.sh engine $release/v2m-engine $staged
    mkdir -p $out
    cp -r $staged/usr/* $out/
    cp -r $staged/etc $out/
    substituteInPlace $out/lib/systemd/user/v2m-engine.service --replace-fail /usr/bin $out/bin
    runHook postInstall
  '';

  meta = {
    description = "Microphone for speech software, in real time";
    homepage = "https://github.com/v2m-engine/v2m_engine";
    license = lib.licenses.mit;
    mainProgram = "v2m-engine";
    platforms = [ "x86_64-linux" ];
  };
}
