//! The monitor: the microphone, the speech detection and the timing at a glance.
//! An ordinary reader of the ring that looks on; it changes nothing.
//!
//! Follow an update: `ear` (thread: wakes up, asks) → `state` (`track` reads the
//! ring into `wave`; `wakes`) → `draw` (cells) → `terminal` (loop), or `report`.

mod draw;
mod ear;
mod facts;
mod report;
mod state;
mod terminal;
mod track;
mod wakes;
mod wave;

pub use draw::Theme;
pub use report::once;
pub use terminal::run;
