//! Recordings on a disk that loses power, at random moments: an emulated machine records
//! onto ext4, says on its console how far each sync has got, and is killed. The pages that
//! its kernel had not written are gone with it; what its disk had not flushed is taken
//! away afterwards, all of it, some requests, or some sectors. Then the files have to
//! open, and to hold what was synced.
//!
//! Run by `cargo test --test machine -- --ignored power_loss`, with `V2M_TEST_RECORD_LONG` set at
//! length. Takes `.venv` (`make setup-test`) to open the files.

mod log;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::emulated::{Machine, run_command};
use log::{CACHES, Cache, Entry, disk_after, entries};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// In the order of loading.
const MODULES: [&str; 12] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
    "lib/crc16",
    "crypto/crc32c_generic",
    "lib/libcrc32c",
    "fs/mbcache",
    "fs/jbd2/jbd2",
    "fs/ext4/ext4",
];

const INIT: &str = r#"
for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod /modules/$module.ko; done
/bin/busybox mkdir /disk
/bin/busybox mount -t ext4 /dev/vda /disk
/engine run --source file:/played.wav --vad-backend off --log warn &
until /engine status >/dev/null 2>&1; do /bin/busybox usleep 50000; done
record() { /engine record "$@" --sync 300ms --log debug 2>&1 | /bin/busybox cat & }
record /disk/float.wav --format wav32
record /disk/integer.wav --format wav16
record /disk/some.flac
record /disk/again.wav --overwrite --format wav32
V2M_ENGINE_NO_IO_URING=1 record /disk/plain.wav --format wav32
/bin/busybox sleep 180
"#;

const FILES: [&str; 5] = [
    "float.wav",
    "integer.wav",
    "some.flac",
    "plain.wav",
    OVERWRITTEN,
];

/// Something else is there when it begins.
const OVERWRITTEN: &str = "again.wav";

/// What was said on the console: so many samples of a file are synced. And how long the
/// log of the disk was then: what made them safe is in there.
struct Report {
    file: usize,
    samples: u64,
    logged: usize,
}

/// A small generator of numbers; where it begins is printed.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        println!("dice: {seed}");
        Self(seed)
    }

    fn below(&mut self, limit: usize) -> usize {
        // Splitmix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// Three minutes of 16-bit noise.
fn write_noise(path: &Path, dice: &mut Dice) {
    let samples: Vec<u8> = (0..180 * 16_000)
        .flat_map(|_| (dice.below(32_000) as i16 - 16_000).to_le_bytes())
        .collect();
    let bytes = samples.len() as u32;
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(16_000_u32.to_le_bytes());
    wav.extend(32_000_u32.to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend(bytes.to_le_bytes());
    wav.extend(samples);
    fs::write(path, wav).unwrap();
}

fn machine(dice: &mut Dice) -> Machine {
    let machine = Machine::new("power-loss", &MODULES.map(String::from));
    let order = MODULES.map(|module| module.rsplit('/').next().unwrap());
    fs::write(machine.root().join("modules/order"), order.join("\n")).unwrap();
    machine.install(Path::new(env!("CARGO_BIN_EXE_v2m-engine")), "/engine");
    write_noise(&machine.root().join("played.wav"), dice);
    machine
}

/// A program of e2fsprogs, which not everybody's path leads to.
fn e2fs(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// With something else where one of the recordings will be.
fn make_disk(machine: &Machine) -> PathBuf {
    let (path, content) = (
        machine.directory().join("pristine"),
        machine.directory().join("content"),
    );
    fs::create_dir_all(&content).unwrap();
    fs::write(content.join(OVERWRITTEN), [0xaa; 100_000]).unwrap();
    fs::File::create(&path).unwrap().set_len(32 << 20).unwrap();
    let now = "lazy_itable_init=0,lazy_journal_init=0";
    run_command(
        e2fs("mkfs.ext4")
            .args(["-q", "-F", "-b", "4096", "-J", "size=4", "-E", now, "-d"])
            .args([&content, &path]),
        "the disk",
    );
    path
}

/// Lets the machine record, and takes its power away some time after each file was synced
/// once. The log of its disk, and what it said.
fn lose_power(machine: &Machine, disk: &Path, after: Duration) -> (Vec<u8>, Vec<Report>) {
    let log = machine.directory().join("log");
    fs::write(&log, "").unwrap();
    let file = |path: &Path| format!("driver=file,filename={}", path.display());
    let mut running = machine
        .boot(INIT, "", "300")
        .args(["-blockdev", &format!("{},node-name=plain", file(disk))])
        .args(["-blockdev", &format!("{},node-name=log", file(&log))])
        .args([
            "-blockdev",
            "driver=blklogwrites,node-name=logged,file=plain,log=log",
        ])
        .args(["-device", "virtio-blk-pci,drive=logged"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("install qemu-system-x86");
    let group = Pid::from_raw(-(running.id() as i32));
    let lines = BufReader::new(running.stdout.take().unwrap()).split(b'\n');
    let mut reports: Vec<Report> = Vec::new();
    let mut killer = None;
    for line in lines {
        let line = String::from_utf8_lossy(&line.unwrap()).into_owned();
        let found = FILES.iter().enumerate().find_map(|(file, name)| {
            let (_, said) = line.split_once(&format!("/disk/{name}: synced to sample "))?;
            Some((file, said.split(' ').next()?.parse().ok()?))
        });
        let Some((file, samples)) = found else {
            println!("{}", line.trim_end());
            continue;
        };
        let logged = fs::metadata(&log).unwrap().len() as usize;
        reports.push(Report {
            file,
            samples,
            logged,
        });
        let begun = |file| {
            reports
                .iter()
                .any(|report| report.file == file && report.samples > 0)
        };
        if killer.is_none() && (0..FILES.len()).all(begun) {
            killer = Some(std::thread::spawn(move || {
                sleep(after);
                kill(group, Signal::SIGKILL).unwrap();
            }));
        }
    }
    let synced = FILES.iter().enumerate().map(|(file, name)| {
        let of = reports.iter().filter(|report| report.file == file);
        (*name, of.map(|report| report.samples).max())
    });
    let synced: Vec<_> = synced.collect();
    let killer = killer.unwrap_or_else(|| panic!("not all were synced: {synced:?}, see above"));
    killer.join().unwrap();
    running.wait().unwrap();
    (fs::read(&log).unwrap(), reports)
}

/// Repairs the file system as a boot does, and takes the recordings out of it.
fn salvage(folder: &Path, disk: &[u8]) {
    let image = folder.join("disk");
    fs::write(&image, disk).unwrap();
    let output = e2fs("e2fsck").arg("-fy").arg(&image).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // 1: errors were corrected.
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "e2fsck: {said}"
    );
    for name in FILES {
        let out = folder.join(name);
        let dump = format!("dump /{name} {}", out.display());
        let output = e2fs("debugfs")
            .args(["-R", &dump])
            .arg(&image)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("File not found") {
            let _ = fs::remove_file(out);
        }
    }
    fs::remove_file(image).unwrap();
}

#[test]
#[ignore = "boots an emulated machine"]
fn recordings_outlive_a_power_loss() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".venv/bin/python");
    assert!(python.exists(), "make setup-test first");
    let long = std::env::var_os("V2M_TEST_RECORD_LONG").is_some();
    let (kills, moments) = if long { (6, 40) } else { (1, 10) };
    let mut dice = Dice::new();
    let machine = machine(&mut dice);
    let pristine = make_disk(&machine);
    let before = fs::read(&pristine).unwrap();
    let states = machine.directory().join("states");
    let _ = fs::remove_dir_all(&states);
    for turn in 0..kills {
        let disk = machine.directory().join("disk");
        fs::copy(&pristine, &disk).unwrap();
        let after = Duration::from_millis(dice.below(if long { 3000 } else { 1000 }) as u64);
        let (log, reports) = lose_power(&machine, &disk, after);
        let entries = entries(&log);
        // The first moments are the kill's own; of these the first is the disk as it is.
        for moment in 0..moments {
            let end = match moment < CACHES.len() {
                true => entries.len(),
                false => 1 + dice.below(entries.len()),
            };
            let cache = CACHES[moment % CACHES.len()];
            let folder = states.join(format!("{turn}-{moment}-{cache:?}").to_lowercase());
            fs::create_dir_all(&folder).unwrap();
            let disk = match moment {
                0 => fs::read(&disk).unwrap(),
                _ => disk_after(&before, &log, &entries[..end], cache, || dice.below(2) == 0),
            };
            salvage(&folder, &disk);
            let logged = match moment {
                0 => log.len(),
                _ => entries[..end].last().map_or(0, Entry::end),
            };
            let mut synced: BTreeMap<usize, u64> = (0..FILES.len()).map(|file| (file, 0)).collect();
            for report in reports.iter().filter(|report| report.logged <= logged) {
                synced.insert(report.file, report.samples);
            }
            if cache == Cache::Torn {
                // The first page may be half of what was there before.
                synced.remove(&(FILES.len() - 1));
            }
            let synced: String = synced
                .iter()
                .map(|(file, samples)| format!("{} {samples}\n", FILES[*file]))
                .collect();
            fs::write(folder.join("synced"), synced).unwrap();
        }
    }
    run_command(
        Command::new(python)
            .arg(root.join("tests/machine/power_loss/check.py"))
            .arg(machine.root().join("played.wav"))
            .arg(&states),
        "a recording after a power loss",
    );
    fs::remove_dir_all(states).unwrap();
}
