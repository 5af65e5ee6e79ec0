//! The conditioner does what its profile says, measured over many packets.

use super::*;

const MS: Duration = Duration::from_millis(1);
const PACKETS: u32 = 200_000;

/// A packet that came through.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Arrival {
    number: u32,
    delay: Duration,
}

/// Sends numbered packets of `bytes` bytes, one every `every`, looking for arrivals every quarter millisecond.
fn run(conditioner: &mut Conditioner, packets: u32, every: Duration, bytes: usize) -> Vec<Arrival> {
    let (mut arrivals, mut sent, mut now) = (Vec::new(), 0, Duration::ZERO);
    let mut payload = vec![0; bytes.max(4)];
    while sent < packets || conditioner.under_way() > 0 {
        while sent < packets && every * sent <= now {
            payload[..4].copy_from_slice(&sent.to_le_bytes());
            conditioner.send(every * sent, &payload);
            sent += 1;
        }
        while let Some(bytes) = conditioner.receive(now) {
            let number = u32::from_le_bytes(bytes[..4].try_into().unwrap());
            arrivals.push(Arrival { number, delay: now.saturating_sub(every * number) });
        }
        now += MS / 4;
    }
    arrivals
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[track_caller]
fn assert_within(what: &str, value: f64, range: core::ops::RangeInclusive<f64>) {
    assert!(range.contains(&value), "{what}: {value} is outside {range:?}");
}

fn with(change: impl FnOnce(&mut Profile)) -> Profile {
    let mut profile = Profile::PERFECT;
    change(&mut profile);
    profile
}

/// Everything at once, so that every counter moves.
fn rough() -> Profile {
    Profile {
        rtt_ms: 100,
        jitter_ms: 30,
        loss: Share::percent(2.0),
        bursts: Bursts { share: Share::percent(3.0), length_mean: 6 },
        duplicate: Share::percent(1.0),
        reorder: Share::percent(2.0),
        rate_kbit_s: 400,
    }
}

#[test]
fn a_perfect_network_changes_nothing() {
    assert!(Profile::PERFECT.is_perfect() && !rough().is_perfect());
    for mut conditioner in [Conditioner::datagrams(Profile::PERFECT, 1), Conditioner::stream(Profile::PERFECT, 1)] {
        let arrivals = run(&mut conditioner, 1000, MS, 100);
        assert!(arrivals.iter().map(|arrival| arrival.number).eq(0..1000));
        assert!(arrivals.iter().all(|arrival| arrival.delay.is_zero()));
        let faults = Faults { sent: 1000, delivered: 1000, ..Faults::default() };
        assert_eq!(conditioner.faults(), &faults);
    }
}

#[test]
fn random_loss_is_as_asked_and_comes_alone() {
    for percent in [0.5, 2.0, 10.0, 50.0] {
        let mut conditioner = Conditioner::datagrams(with(|p| p.loss = Share::percent(percent)), 7);
        let arrivals = run(&mut conditioner, PACKETS, MS, 10);
        let lost = 100.0 - 100.0 * share(arrivals.len() as u64, u64::from(PACKETS));
        assert_within("lost %", lost, percent * 0.95..=percent * 1.05);
        // Of the losses, the share that follow a loss is the loss itself when each is drawn alone.
        let mut got = vec![false; PACKETS as usize];
        arrivals.iter().for_each(|arrival| got[arrival.number as usize] = true);
        let pairs = got.windows(2).filter(|pair| !pair[0] && !pair[1]).count() as u64;
        let losses = conditioner.faults().lost;
        assert_within("in a row %", 100.0 * share(pairs, losses), percent - 1.5..=percent + 1.5);
        assert_eq!(losses + arrivals.len() as u64, u64::from(PACKETS));
    }
}

#[test]
fn bursts_have_their_share_and_their_mean_length() {
    for (percent, length_mean) in [(1.0, 4), (5.0, 8), (20.0, 30)] {
        let bursts = Bursts { share: Share::percent(percent), length_mean };
        let mut conditioner = Conditioner::datagrams(with(|p| p.bursts = bursts), 11);
        run(&mut conditioner, PACKETS * 2, MS, 10);
        let faults = conditioner.faults();
        let lost = 100.0 * share(faults.lost_in_bursts, faults.sent);
        assert_within("lost in bursts %", lost, percent * 0.9..=percent * 1.1);
        let length = share(faults.lost_in_bursts, faults.bursts);
        assert_within("burst length", length, f64::from(length_mean) * 0.9..=f64::from(length_mean) * 1.1);
        assert_eq!(faults.lost, 0);
    }
}

#[test]
fn a_burst_does_not_outlast_a_pause() {
    let bursts = Bursts { share: Share::percent(10.0), length_mean: 8 };
    let (mut after_loss, mut lost_again) = (0, 0);
    for seed in 0..2000 {
        let mut conditioner = Conditioner::datagrams(with(|p| p.bursts = bursts), seed);
        (0..5).for_each(|number| _ = conditioner.send(MS * number, &[0]));
        let bursting = conditioner.bursting;
        let lost = conditioner.faults().lost_in_bursts;
        conditioner.send(MS * 3000, &[0]);
        after_loss += u64::from(bursting);
        lost_again += u64::from(bursting && conditioner.faults().lost_in_bursts > lost);
    }
    assert!(after_loss > 50, "{after_loss}");
    assert_within("lost three seconds later %", 100.0 * share(lost_again, after_loss), 2.0..=20.0);
}

#[test]
fn delay_is_half_the_round_trip_and_jitter_is_half_normal_on_top() {
    let mut conditioner = Conditioner::datagrams(with(|p| (p.rtt_ms, p.jitter_ms) = (100, 40)), 3);
    let mut extra: Vec<f64> =
        run(&mut conditioner, PACKETS, MS, 10).iter().map(|arrival| arrival.delay.as_secs_f64() * 1e3 - 50.0).collect();
    extra.sort_by(f64::total_cmp);
    let at = |quantile: f64| extra[(quantile * (extra.len() - 1) as f64) as usize];
    // Half-normal with sigma 40: mean 31.9, median 27.0, 95 % under 78.4; arrivals are seen up to 0.25 ms late.
    let mean = extra.iter().sum::<f64>() / extra.len() as f64;
    assert_within("mean", mean, 31.0..=33.0);
    assert_within("median", at(0.5), 26.0..=28.0);
    assert_within("p95", at(0.95), 76.5..=80.0);
    assert_within("least", at(0.0), 0.0..=0.5);
    assert_within("most", at(1.0), 140.0..=240.5);
    assert_eq!(conditioner.faults().jittered, u64::from(PACKETS));
}

#[test]
fn doubled_packets_come_twice_and_reordered_ones_after_later_ones() {
    let profile = with(|p| (p.duplicate, p.reorder) = (Share::percent(1.0), Share::percent(2.0)));
    let mut conditioner = Conditioner::datagrams(profile, 5);
    let arrivals = run(&mut conditioner, PACKETS, MS * 33, 10);
    let faults = *conditioner.faults();
    assert_within("doubled %", 100.0 * share(faults.duplicated, faults.sent), 0.93..=1.07);
    assert_eq!(arrivals.len() as u64, faults.sent + faults.duplicated);
    let mut seen = vec![0; PACKETS as usize];
    arrivals.iter().for_each(|arrival| seen[arrival.number as usize] += 1);
    assert!(seen.iter().all(|times| (1..=2).contains(times)));
    let overtaken = arrivals.windows(2).filter(|pair| pair[1].number < pair[0].number).count() as u64;
    assert_within("out of order %", 100.0 * share(overtaken, faults.sent), 1.8..=2.2);
    assert_within("held back %", 100.0 * share(faults.reordered, faults.delivered), 1.9..=2.1);
}

#[test]
fn the_bottleneck_lets_through_its_rate_and_drops_what_would_wait_too_long() {
    // 100 bytes and headers every millisecond are 1,024 kbit/s; a quarter of that gets through.
    let mut conditioner = Conditioner::datagrams(with(|p| p.rate_kbit_s = 256), 1);
    let arrivals = run(&mut conditioner, 20_000, MS, 100);
    let through = share(arrivals.len() as u64, 20_000);
    assert_within("share through", through, 0.25..=0.27);
    let longest = arrivals.iter().map(|arrival| arrival.delay).max().unwrap();
    assert!(longest >= QUEUE_MAX && longest <= QUEUE_MAX + MS * 10, "waited {longest:?}");
    let faults = *conditioner.faults();
    assert_eq!(faults.overflowed + faults.delivered, faults.sent);
    assert!(faults.queued > faults.delivered * 9 / 10);
    // Below its rate nothing waits.
    let mut conditioner = Conditioner::datagrams(with(|p| p.rate_kbit_s = 256), 1);
    let arrivals = run(&mut conditioner, 1000, MS * 10, 100);
    assert_eq!((arrivals.len(), conditioner.faults().queued), (1000, 0));
    assert!(arrivals.iter().all(|arrival| (MS * 4..MS * 5).contains(&arrival.delay)), "128 bytes take 4 ms");
}

#[test]
fn a_stream_loses_and_reorders_nothing_and_a_lost_packet_holds_up_those_behind_it() {
    let mut conditioner = Conditioner::stream(Profile { rate_kbit_s: 0, ..rough() }, 9);
    let arrivals = run(&mut conditioner, PACKETS / 4, MS * 33, 100);
    assert!(arrivals.iter().map(|arrival| arrival.number).eq(0..PACKETS / 4));
    let faults = *conditioner.faults();
    assert_within("retransmitted %", 100.0 * share(faults.retransmitted, faults.sent), 4.5..=5.5);
    assert!(faults.stalled > faults.retransmitted && faults.duplicated == 0, "{faults:?}");
}

#[test]
fn a_stream_repairs_a_loss_by_the_next_acknowledgement_or_else_by_its_timeout() {
    let lossy = with(|p| (p.rtt_ms, p.loss) = (100, Share::percent(100.0)));
    let clean = Profile { loss: Share::NONE, ..lossy };
    // Lost once: all further losses are ruled out by changing the network while the first is drawn.
    let lost_once = |follow: Option<Duration>| {
        let mut conditioner = (0..).map(|seed| {
            let mut conditioner = Conditioner::stream(Profile { loss: Share::percent(50.0), ..lossy }, seed);
            conditioner.send(Duration::ZERO, &[1]);
            conditioner
        });
        let mut conditioner = conditioner.find(|conditioner| conditioner.faults().lost == 1).unwrap();
        conditioner.set_profile(clean);
        if let Some(at) = follow {
            conditioner.send(at, &[2]);
        }
        conditioner.next_arrival().unwrap()
    };
    assert_eq!(lost_once(None), MS * (100 + 200 + 50), "timeout, then half a round trip");
    assert_eq!(lost_once(Some(MS * 33)), MS * (33 + 125 + 50), "a round trip and a quarter after the next");
    assert_eq!(lost_once(Some(MS * 290)), MS * 350, "too late to help");
    // A lost retransmission is noticed alike: one that gets through every 10 ms from 100 ms on.
    let mut conditioner = Conditioner::stream(lossy, 1);
    conditioner.send(Duration::ZERO, &[1]);
    conditioner.set_profile(clean);
    (10..200).for_each(|number| _ = conditioner.send(MS * 10 * number, &[2]));
    let first = (0..3000).find(|ms| conditioner.receive(MS * *ms).is_some());
    assert_eq!(first, Some(100 + 125 + 5 * (5 + 125) + 50));
    // Lost for good as far as the profile goes: the timeout doubles, and in the end it gets through.
    let mut conditioner = Conditioner::stream(lossy, 1);
    conditioner.send(Duration::ZERO, &[1]);
    assert_eq!(conditioner.next_arrival(), Some(MS * 350), "not before then");
    let arrives = MS * 300 * (1 + 2 + 4 + 8 + 16 + 32) + MS * 50;
    assert_eq!(conditioner.receive(arrives - MS), None);
    assert_eq!(conditioner.receive(arrives), Some(vec![1]));
    assert_eq!(conditioner.faults().lost, u64::from(RETRANSMITS_MAX));
}

#[test]
fn a_stream_says_when_its_window_is_full() {
    let mut conditioner = Conditioner::stream(with(|p| p.rtt_ms = 100), 1);
    for sent in 0..STREAM_WINDOW {
        assert!(!conditioner.is_full(), "after {sent}");
        assert!(conditioner.send(Duration::ZERO, &[0; 100]));
    }
    assert!(conditioner.is_full());
    assert!(conditioner.receive(MS * 49).is_none());
    assert!(conditioner.receive(MS * 50).is_some() && !conditioner.is_full());
    let mut datagrams = Conditioner::datagrams(with(|p| p.rtt_ms = 100), 1);
    (0..STREAM_WINDOW * 2).for_each(|_| _ = datagrams.send(Duration::ZERO, &[0]));
    assert!(!datagrams.is_full());
}

#[test]
fn equal_seeds_and_calls_give_equal_faults_and_other_seeds_others() {
    let form = [Conditioner::datagrams, Conditioner::stream];
    for make in form {
        let [first, again, other] = [4, 4, 5].map(|seed| {
            let mut conditioner = make(rough(), seed);
            (run(&mut conditioner, 5000, MS * 16, 60), *conditioner.faults())
        });
        assert_eq!(first, again);
        assert_ne!(first.0, other.0);
    }
}

#[test]
fn every_fault_of_a_rough_profile_is_counted() {
    let (mut all, mut sums) = (Faults::default(), std::collections::HashMap::new());
    for mut conditioner in [Conditioner::datagrams(rough(), 1), Conditioner::stream(rough(), 2)] {
        run(&mut conditioner, 20_000, MS * 2, 100);
        all.add(conditioner.faults());
        conditioner.faults().each().for_each(|(name, count)| *sums.entry(name).or_insert(0) += count);
    }
    assert_eq!(all.each().count(), 12);
    for (name, count) in all.each() {
        assert!(count > 0 && sums[name] == count, "{name} {count}");
    }
}

#[test]
fn memory_is_bounded_in_packets_and_bytes() {
    let far = with(|p| (p.rtt_ms, p.duplicate) = (60_000, Share::percent(100.0)));
    for make in [Conditioner::datagrams, Conditioner::stream] {
        let mut conditioner = make(far, 1);
        let accepted = (0..PACKETS_MAX * 2).filter(|_| conditioner.send(MS, &[0; 8])).count();
        assert_eq!(conditioner.under_way(), PACKETS_MAX);
        assert!(accepted <= PACKETS_MAX && conditioner.faults().overflowed > 0);
        let mut conditioner = make(far, 1);
        (0..PACKETS_MAX).for_each(|_| _ = conditioner.send(MS, &[0; 2048]));
        assert_eq!(conditioner.under_way(), BYTES_MAX / 2048);
        while conditioner.receive(MS * 100_000).is_some() {}
        assert_eq!((conditioner.under_way(), conditioner.bytes), (0, 0));
        assert!(conditioner.send(MS, &[0; 2048]), "room again");
    }
}

#[test]
fn shares_are_cut_to_what_can_be() {
    assert_eq!(Share::percent(-3.0), Share::NONE);
    assert_eq!(Share::percent(250.0).as_percent(), 100.0);
    assert_eq!(Share::percent(0.25).as_percent(), 0.25);
    let never_ending = Bursts { share: Share::percent(100.0), length_mean: 0 };
    assert_eq!((never_ending.ends(), never_ending.begins()), (Share(Share::WHOLE), Share(Share::WHOLE)));
}
