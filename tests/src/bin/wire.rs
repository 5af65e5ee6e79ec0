//! A lossy wire between two network namespaces: carries IP packets from one TUN device to another through the seeded
//! conditioner, so that real TCP meets real loss on a kernel without `netem`.
//!
//! In: the devices as file descriptors 0 and 1 (whoever starts this opens them: that takes an `ioctl`); arguments
//! `SECONDS RTT_MS LOSS_PERCENT SEED`. Out: the packets; at the end a line with the faults of each direction.
//! Start reading at [`main`].

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use astro_shared::link::{Conditioner, Profile, Share};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Longest packet: the devices' MTU is 1,500.
const PACKET_BYTES_MAX: usize = 2048;
/// Packets taken from one device before the other has its turn.
const PACKETS_PER_TURN: usize = 64;

fn main() -> ExitCode {
    let arguments: Vec<f64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [seconds, rtt_ms, loss_percent, seed] = arguments[..] else {
        eprintln!("usage: wire SECONDS RTT_MS LOSS_PERCENT SEED, with TUN devices as descriptors 0 and 1");
        return ExitCode::from(2);
    };
    let profile = Profile { rtt_ms: rtt_ms as u32, loss: Share::percent(loss_percent), ..Profile::PERFECT };
    match carry(Duration::from_secs_f64(seconds), profile, seed as u64) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wire: {error}");
            ExitCode::FAILURE
        }
    }
}

fn carry(time: Duration, profile: Profile, seed: u64) -> io::Result<()> {
    let near = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let far = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut forth = Conditioner::datagrams(profile, seed);
    let mut back = Conditioner::datagrams(profile, seed + 1);
    let start = Instant::now();
    let mut buffer = [0; PACKET_BYTES_MAX];
    while start.elapsed() < time {
        wait(&near, &far, [&forth, &back], start.elapsed())?;
        move_packets(&near, &far, &mut forth, start, &mut buffer)?;
        move_packets(&far, &near, &mut back, start, &mut buffer)?;
    }
    eprintln!("forth {:?}\nback {:?}", forth.faults(), back.faults());
    Ok(())
}

/// Until a device has something, or a packet under way arrives, at most 50 ms.
fn wait(near: &File, far: &File, ways: [&Conditioner; 2], now: Duration) -> io::Result<()> {
    let next = ways.iter().filter_map(|way| way.next_arrival()).min();
    let until = next.map_or(Duration::from_millis(50), |at| at.saturating_sub(now).min(Duration::from_millis(50)));
    // Rounded up: a wait of no time would spin until the packet is due.
    let timeout = PollTimeout::try_from(until.as_micros().div_ceil(1000) as i32).unwrap_or(PollTimeout::ZERO);
    let mut watched = [near, far].map(|device| PollFd::new(device.as_fd(), PollFlags::POLLIN));
    poll(&mut watched, timeout)?;
    Ok(())
}

fn move_packets(
    mut from: &File,
    mut to: &File,
    way: &mut Conditioner,
    start: Instant,
    buffer: &mut [u8],
) -> io::Result<()> {
    for _ in 0..PACKETS_PER_TURN {
        match from.read(buffer) {
            Ok(length) => _ = way.send(start.elapsed(), &buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    while let Some(packet) = way.receive(start.elapsed()) {
        // A device that takes nothing loses the packet, as a network would.
        let _ = to.write(&packet);
    }
    Ok(())
}
