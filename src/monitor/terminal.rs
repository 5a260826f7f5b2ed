//! The loop: a frame ten times a second at most, keys in between, and a terminal that is
//! left as it was found, however it ends.

use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::draw::{self, Theme};
use super::ear::{Ear, Update};
use super::state::{Action, MonitorState};
use v2m_error::{Error, ErrorKind, Result};
use v2m_ring::time::monotonic_ns;

/// From one frame to the next.
const FRAME: Duration = Duration::from_millis(100);
/// The same on a large screen, of which each frame is much to send over a line.
const LARGE_FRAME: Duration = Duration::from_millis(200);
/// Cells from which on a screen is large.
const LARGE: u32 = 6_000;
/// From one frame to the next after a key: what it did is seen sooner, but holding it down doesn't flood
/// the line.
const QUICK_FRAME: Duration = Duration::from_millis(50);

/// How long the loop may take to end after a signal.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows the running engine until the user or a signal ends it.
///
/// Fails with [`ErrorKind::Invalid`] without a terminal and with
/// [`ErrorKind::Unavailable`] if no engine runs.
pub fn run(theme: Theme) -> Result<()> {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if !std::io::stdout().is_terminal() || dumb {
        let message =
            "the monitor needs a terminal: `v2m-engine monitor --once` prints what it would show";
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let ended = end_by_signals()?;
    let ear = Ear::listen()?;
    let keyboard = Keyboard::open()?;
    let mut screen = Screen::open()?;
    let mut state = MonitorState::new();
    while !ended.load(Ordering::Acquire) {
        take(&ear.updates, &mut state)?;
        ear.choose(state.chosen());
        state.follow(monotonic_ns());
        screen.draw(&state, theme)?;
        match keyboard.command(Instant::now(), screen.frame())? {
            None => {}
            Some(Command::Quit) => break,
            Some(Command::Act(action)) => state.act(action),
            Some(Command::Suspend) => screen.suspend()?,
            Some(Command::Redraw) => screen.clear()?,
        }
    }
    Ok(())
}

/// Signals that end a program end this one by its usual path. Before any thread
/// exists: all of them inherit the mask, one waits.
fn end_by_signals() -> Result<Arc<AtomicBool>> {
    let signals = SigSet::from_iter([
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ]);
    signals
        .thread_block()
        .map_err(|cause| Error::system("cannot block signals", cause))?;
    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    std::thread::Builder::new()
        .name("v2m-signals".into())
        .spawn(move || {
            let _ = signals.wait();
            end.store(true, Ordering::Release);
            // In case the loop stands: a terminal that takes nothing, or is gone.
            std::thread::sleep(PATIENCE);
            give_back();
            std::process::exit(0);
        })
        .map_err(|cause| Error::system("cannot start the signals' thread", cause))?;
    Ok(ended)
}

fn take(updates: &Receiver<Update>, state: &mut MonitorState) -> Result<()> {
    loop {
        match updates.try_recv() {
            Ok(update) => state.update(update),
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => {
                return Err(Error::new(
                    ErrorKind::System,
                    "the monitor's thread has ended: please report it",
                ));
            }
        }
    }
}

enum Command {
    Quit,
    Act(Action),
    Suspend,
    Redraw,
}

struct Keyboard(OwnedFd);

impl Keyboard {
    fn open() -> Result<Self> {
        let failed = |cause| Error::system("cannot read the terminal", cause);
        let stdin = std::io::stdin();
        let keyboard = match stdin.is_terminal() {
            true => stdin.as_fd().try_clone_to_owned().map_err(failed)?,
            false => std::fs::File::open("/dev/tty").map_err(failed)?.into(),
        };
        Ok(Self(keyboard))
    }

    /// Waits for the next frame, or for something to do before it.
    fn command(&self, drawn: Instant, frame: Duration) -> Result<Option<Command>> {
        let failed = |cause| Error::system("cannot read the terminal", cause);
        loop {
            while event::poll(Duration::ZERO).map_err(failed)? {
                let command = match event::read().map_err(failed)? {
                    Event::Key(key) if key.kind != KeyEventKind::Release => command(key),
                    Event::Resize(..) => Some(Command::Redraw),
                    _ => None,
                };
                if command.is_some() {
                    std::thread::sleep(QUICK_FRAME.saturating_sub(drawn.elapsed()));
                    return Ok(command);
                }
            }
            let left = frame.saturating_sub(drawn.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            // Waited for here: crossterm never returns from a terminal that is gone.
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            let mut ready = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
            match poll(&mut ready, timeout) {
                Ok(_) if ready[0].revents().is_some_and(|r| r.intersects(gone)) => {
                    return Ok(Some(Command::Quit));
                }
                // A changed size interrupts as well.
                Ok(_) | Err(Errno::EINTR) => {}
                Err(cause) => return Err(Error::system("cannot wait for the terminal", cause)),
            }
        }
    }
}

fn command(key: KeyEvent) -> Option<Command> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Some(Command::Quit),
            KeyCode::Char('z') => Some(Command::Suspend),
            KeyCode::Char('l') => Some(Command::Redraw),
            _ => None,
        };
    }
    let action = match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return Some(Command::Quit),
        KeyCode::Char(' ' | 'p') => Action::Pause,
        KeyCode::Char('+' | '=') => Action::Nearer,
        KeyCode::Char('-') => Action::Farther,
        KeyCode::Left | KeyCode::Char('<' | ',') => Action::Back,
        KeyCode::Right | KeyCode::Char('>' | '.') => Action::Forward,
        KeyCode::Char('h') => Action::Histogram,
        KeyCode::Char('r') => Action::Reset,
        KeyCode::Up | KeyCode::BackTab => Action::Previous,
        KeyCode::Down | KeyCode::Tab => Action::Next,
        _ => return None,
    };
    Some(Command::Act(action))
}

/// The terminal, taken; given back when dropped, and when the program panics.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(cause) => {
                give_back();
                Err(Error::system("cannot use the terminal", cause))
            }
        }
    }

    fn draw(&mut self, state: &MonitorState, theme: Theme) -> Result<()> {
        let drawn = self.0.draw(|frame| {
            let area = frame.area();
            draw::screen(state, theme, area, frame.buffer_mut());
        });
        drawn
            .map(drop)
            .map_err(|cause| Error::system("cannot write to the terminal", cause))
    }

    fn frame(&self) -> Duration {
        match self.0.size() {
            Ok(size) if u32::from(size.width) * u32::from(size.height) >= LARGE => LARGE_FRAME,
            _ => FRAME,
        }
    }

    fn clear(&mut self) -> Result<()> {
        self.0
            .clear()
            .map_err(|cause| Error::system("cannot write to the terminal", cause))
    }

    /// Gives the terminal back while the shell has the floor.
    fn suspend(&mut self) -> Result<()> {
        give_back();
        raise(Signal::SIGTSTP).map_err(|cause| Error::system("cannot stop", cause))?;
        *self = Self::open()?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Leaves the terminal as it was. One that is gone has nothing left to mend.
fn give_back() {
    let _ = ratatui::try_restore();
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// The part of the next test that runs in a terminal.
    #[test]
    #[ignore = "run by a_panic_gives_the_terminal_back, in a terminal"]
    fn panics_on_the_screen() {
        let _screen = Screen::open().unwrap();
        panic!("in the middle of a frame");
    }

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let program = std::env::current_exe().unwrap();
        let inner = "monitor::terminal::tests::panics_on_the_screen";
        let run = format!(
            "{} --exact {inner} --ignored --nocapture; stty -a",
            program.display()
        );
        // util-linux's script gives the command a terminal.
        let done = Command::new("script")
            .args(["--quiet", "--return", "--command", &run, "/dev/null"])
            .stdin(Stdio::null())
            .output()
            .expect("script can't be run: install util-linux");
        let said = String::from_utf8_lossy(&done.stdout);
        let (taken, given_back) = ("\u{1b}[?1049h", "\u{1b}[?1049l");
        let (_, after) = said.split_once(taken).expect("the terminal was not taken");
        let (_, after) = after.split_once(given_back).expect("nor given back");
        assert!(after.contains("in the middle of a frame"), "{after}");
        let modes: Vec<_> = after.split([' ', ';', '\r', '\n']).collect();
        for mode in ["icanon", "echo", "isig", "opost"] {
            assert!(modes.contains(&mode), "no {mode}: {after}");
        }
    }
}
