//! A bad network between the bots' sessions and their sockets, as the command line asks for it.
//!
//! In: options; what sessions send and sockets receive. Out: the same, later or not at all.
//! Both directions of every connection have a conditioner of their own, whose faults follow from `--seed`. Over
//! WebSocket it is a stream: nothing is lost, but comes a retransmission later, and what is behind it waits. The kernel's
//! own TCP below sees none of that, so the server's queue never feels it; `tests/load-table` has a wire that it feels.
//! *Invariant:* without options nothing stands between session and socket.
//! Start reading at [`NetworkOptions`] and [`Wire`].

use astro_shared::link::{Bursts, Conditioner, Faults, Profile, Share};
use clap::Args;

use crate::net::Transport;

/// Packets in a burst of loss when `--burst` does not say.
const BURST_LENGTH: u16 = 5;

/// What the bots' networks do to packets, each way.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Bad network between the bots and the server")]
pub struct NetworkOptions {
    /// Least round trip, on top of the real one
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub rtt_ms: u32,

    /// Further delay of each packet, half-normal with this sigma: the mean is 0.8 of it
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub jitter_ms: u32,

    /// Packets lost, each alone
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = parse_share)]
    pub loss: Share,

    /// Packets lost in bursts, and how many in a row on average (5 when not said)
    #[arg(long, value_name = "PERCENT[:N]", default_value = "0", value_parser = parse_bursts)]
    pub burst: Bursts,

    /// Packets held back by 50 ms, so that others overtake them
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = parse_share)]
    pub reorder: Share,

    /// Packets that arrive twice
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = parse_share)]
    pub duplicate: Share,

    /// Narrowest place on the way, with a queue of a quarter second; 0 for none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub rate_kbit: u32,
}

impl NetworkOptions {
    pub fn profile(&self) -> Profile {
        Profile {
            rtt_ms: self.rtt_ms,
            jitter_ms: self.jitter_ms,
            loss: self.loss,
            bursts: self.burst,
            duplicate: self.duplicate,
            reorder: self.reorder,
            rate_kbit_s: self.rate_kbit,
        }
    }
}

fn parse_share(text: &str) -> Result<Share, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Share::percent(percent)),
        _ => Err("must be 0 to 100".into()),
    }
}

fn parse_bursts(text: &str) -> Result<Bursts, String> {
    let (share, length) = text.split_once(':').map_or((text, None), |(share, length)| (share, Some(length)));
    let length_mean = length.map_or(Ok(BURST_LENGTH), str::parse::<u16>).ok().filter(|length| *length > 0);
    let length_mean = length_mean.ok_or("the number of packets in a row must be 1 to 65535")?;
    Ok(Bursts { share: parse_share(share)?, length_mean })
}

/// The two directions of one connection.
pub struct Wire {
    pub up: Conditioner,
    pub down: Conditioner,
}

impl Wire {
    /// `None` when the network is perfect.
    pub fn new(profile: Profile, transport: Transport, seed: u64) -> Option<Box<Wire>> {
        let make = match transport {
            Transport::Udp => Conditioner::datagrams,
            Transport::WebSocket => Conditioner::stream,
        };
        (!profile.is_perfect()).then(|| Box::new(Wire { up: make(profile, seed), down: make(profile, !seed) }))
    }

    /// Of both directions.
    pub fn faults(&self) -> Faults {
        let mut both = *self.up.faults();
        both.add(self.down.faults());
        both
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        network: NetworkOptions,
    }

    fn read(line: &str) -> Result<Profile, String> {
        let line = Line::try_parse_from(std::iter::once("bots").chain(line.split_whitespace()));
        line.map(|line| line.network.profile()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_option_reaches_the_profile_and_none_of_them_is_a_perfect_network() {
        assert!(read("").unwrap().is_perfect());
        assert!(Wire::new(Profile::PERFECT, Transport::Udp, 1).is_none());
        let line = "--rtt-ms 100 --jitter-ms 20 --loss 1.5 --burst 2:8 --reorder 3 --duplicate 0.5 --rate-kbit 64";
        let bursts = Bursts { share: Share::percent(2.0), length_mean: 8 };
        let (loss, reorder, duplicate) = (Share::percent(1.5), Share::percent(3.0), Share::percent(0.5));
        let profile = Profile { rtt_ms: 100, jitter_ms: 20, loss, bursts, duplicate, reorder, rate_kbit_s: 64 };
        assert_eq!(read(line), Ok(profile));
        assert_eq!(read("--burst 4").unwrap().bursts.length_mean, BURST_LENGTH);
        for wrong in ["--loss 101", "--loss x", "--burst 1:0", "--burst 1:x", "--duplicate=-1"] {
            assert!(read(wrong).unwrap_err().contains("must be"), "{wrong}");
        }
    }
}
