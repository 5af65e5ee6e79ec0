//! How datagrams get to a server and back; the forms that need an operating system are in [`native`].
//!
//! In: a session's datagrams. Out: datagrams for a session, each from the server's own address.
//! *Invariant:* carries bytes and never looks inside them; `render` and `ui` never see this module.
//! Start reading at [`native::ClientSocket`] for a player, at [`native::FleetSockets`] for bots.

pub mod native;
