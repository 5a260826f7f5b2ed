//! What the engine says of a card's switches and volumes, and of what it says to do.

use std::ffi::CStr;
use std::process::Command;
use std::ptr::null_mut;
use std::thread::sleep;
use std::time::Instant;

use v2m_client::connection::Connection;
use v2m_client::status::FindingStatus;

use super::engine::Engine;
use super::guest::ms;

/// Gives the card a capture volume that is zero, as programs may.
fn add_volume(card: &CStr) {
    let id = c"iface=MIXER,name='Capture Volume'";
    // Decibels from -10 to 0, by steps of 0.1, the least of which is silence.
    let scale: [u32; 4] = [1, 8, -1000_i32 as u32, 0x1_0000 | 10];
    let (mut control, mut element) = (null_mut(), null_mut());
    // SAFETY: the pointers are out parameters of this frame; the control and the element's
    // id are valid from then on, and freed here; the scale has the length that it says.
    unsafe {
        let results = [
            alsa_sys::snd_ctl_open(&mut control, card.as_ptr(), 0),
            alsa_sys::snd_ctl_elem_id_malloc(&mut element),
            alsa_sys::snd_ctl_ascii_elem_id_parse(element, id.as_ptr()),
            alsa_sys::snd_ctl_elem_add_integer(control, element, 1, 0, 100, 1),
            alsa_sys::snd_ctl_elem_tlv_write(control, element, scale.as_ptr()).min(0),
        ];
        assert_eq!(results, [0; 5]);
        alsa_sys::snd_ctl_elem_id_free(element);
        alsa_sys::snd_ctl_close(control);
    }
}

fn shell(line: &str) {
    let mut command = Command::new("/bin/busybox");
    let done = command.args(["sh", "-c", line]).output().unwrap();
    assert!(done.status.success(), "{line}: {done:?}");
}

/// The finding, once it is said, or `None` once it isn't any more.
fn muted(connection: &mut Connection, wanted: bool) -> Option<FindingStatus> {
    let start = Instant::now();
    loop {
        let mut health = connection.status().unwrap().health.into_iter();
        let found = health.find(|finding| finding.kind == "muted");
        if found.is_some() == wanted {
            return found;
        }
        assert!(start.elapsed() < ms(15_000), "{found:?}");
        sleep(ms(20));
    }
}

/// The dummy card begins with all of its switches off.
pub(crate) fn muted_and_heard_again() {
    let engine = Engine::start(Engine::command("alsa:hw:Dummy", 64, "off"));
    let (mut connection, _reader) = engine.capturing();
    let mut mended_by = |remedy: &str| {
        let finding = muted(&mut connection, true).unwrap();
        let all = "all inputs of card 1 are off in its mixer";
        assert!(finding.text.starts_with(all), "{finding:?}");
        assert_eq!(finding.remedy, remedy);
        shell(remedy);
        muted(&mut connection, false);
    };
    mended_by("amixer -c 1 sset Mic cap");
    add_volume(c"hw:Dummy");
    shell("amixer -c 1 sset Mic nocap");
    mended_by("amixer -c 1 sset Capture capture 0dB cap");
}
