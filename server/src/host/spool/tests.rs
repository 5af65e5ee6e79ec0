//! Crashes, full disks and failing sinks, through the spool's public doors.

use std::collections::HashMap;
use std::fs;
use std::sync::mpsc;

use super::*;
use crate::hosts::{Answer, ResultsError};
use crate::records::tests::record;

/// A spool in a folder of its own, closed and opened again at will.
struct Stage {
    folder: PathBuf,
    limits: Limits,
    spool: Option<Spool>,
}

impl Stage {
    fn new() -> Stage {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("astro-spool-{}-{number}", std::process::id()));
        let quick = Duration::from_millis(1);
        let limits = Limits { retry_min: quick, retry_max: quick, ..Limits::default() };
        let mut stage = Stage { folder, limits, spool: None };
        assert_eq!(stage.reopen(), Recovery::default());
        stage
    }

    /// Ends the spool without any delivery or farewell, and starts anew on the same folder.
    fn reopen(&mut self) -> Recovery {
        self.spool = None;
        let (spool, recovery) = Spool::open_with(&self.folder, self.limits).unwrap();
        self.spool = Some(spool);
        recovery
    }

    fn spool(&self) -> &Spool {
        self.spool.as_ref().unwrap()
    }

    /// Appends one record and waits until it is on disk.
    fn append(&self, number: u128) {
        let (told, synced) = mpsc::channel();
        let on_synced = Box::new(move || told.send(()).unwrap());
        assert!(self.spool().append(record(number), on_synced).is_ok());
        synced.recv_timeout(Duration::from_secs(10)).expect("never synced");
    }

    /// Delivers to `sink` until nothing is left.
    fn deliver_all(&self, sink: &Arc<Sink>) {
        block_on(async {
            let task = tokio::spawn(self.spool().deliver_to(Arc::clone(sink) as Arc<dyn Results>));
            assert!(self.spool().flush(Duration::from_secs(10)).await, "not delivered in time");
            task.abort();
        });
    }

    fn files(&self) -> Vec<String> {
        let names = fs::read_dir(&self.folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn only_segment(&self) -> PathBuf {
        let files = self.files();
        assert_eq!(files.len(), 1, "{files:?}");
        self.folder.join(&files[0])
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.spool = None;
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn closing_waits_for_a_record_that_is_still_being_made() {
    let mut stage = Stage::new();
    let spool = stage.spool().clone();
    let announced = spool.announce();
    assert_eq!(spool.depth(), 1, "it counts before it is there");
    let closing = std::thread::spawn({
        let spool = spool.clone();
        move || spool.close()
    });
    assert!(spool.append(record(7), Box::new(|| {})).is_ok(), "closed too early");
    drop(announced);
    closing.join().unwrap();
    assert_eq!(spool.depth(), 1, "the record itself");
    assert!(spool.append(record(8), Box::new(|| {})).is_err());
    drop(spool);
    assert_eq!(stage.reopen().undelivered, 1);
}

#[test]
fn closing_does_not_wait_for_ever_for_a_record_that_never_comes() {
    let stage = Stage::new();
    let announced = stage.spool().announce();
    stage.spool().close();
    drop(announced);
    assert_eq!(stage.spool().depth(), 0);
}

/// A service that remembers what it was given and may refuse.
#[derive(Default)]
struct Sink {
    stored: Mutex<HashMap<MatchId, MatchRecord>>,
    deliveries: AtomicU64,
    refusals_left: AtomicU64,
    refused_for_ever: Option<MatchId>,
}

impl Sink {
    fn ids(&self) -> Vec<u128> {
        let mut ids: Vec<u128> = lock(&self.stored).keys().map(|id| id.0).collect();
        ids.sort_unstable();
        ids
    }

    fn take(&self, records: Vec<MatchRecord>) -> Result<(), ResultsError> {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        let refuse = self.refusals_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if refuse.is_ok() || records.iter().any(|record| Some(record.match_id) == self.refused_for_ever) {
            return Err(ResultsError("not now".into()));
        }
        lock(&self.stored).extend(records.into_iter().map(|record| (record.match_id, record)));
        Ok(())
    }
}

impl Results for Sink {
    fn deliver(&self, records: Vec<MatchRecord>) -> Answer<'_, (), ResultsError> {
        Box::pin(async move { self.take(records) })
    }
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

#[test]
fn a_crash_between_sync_and_delivery_loses_nothing() {
    let mut stage = Stage::new();
    (1..=3).for_each(|number| stage.append(number));
    assert_eq!(stage.reopen(), Recovery { undelivered: 3, ..Recovery::default() });
    stage.append(4);
    let sink = Arc::default();
    stage.deliver_all(&sink);
    assert_eq!(sink.ids(), [1, 2, 3, 4]);
    assert_eq!(lock(&sink.stored)[&MatchId(2)], record(2));
    assert_eq!(stage.reopen(), Recovery::default());
    assert_eq!(stage.files(), [""; 0]);
}

#[test]
fn a_crash_between_delivery_and_mark_delivers_again_and_stores_once() {
    let mut stage = Stage::new();
    (1..=3).for_each(|number| stage.append(number));
    let segment = stage.only_segment();
    let before = fs::read(&segment).unwrap();
    let sink = Arc::default();
    stage.deliver_all(&sink);
    stage.spool = None;
    fs::write(&segment, before).unwrap();
    assert_eq!(stage.reopen().undelivered, 3);
    stage.deliver_all(&sink);
    assert_eq!((sink.ids(), sink.deliveries.load(Ordering::Relaxed)), (vec![1, 2, 3], 2));
}

#[test]
fn a_write_torn_at_any_byte_is_cut_reported_and_costs_nothing_else() {
    let mut stage = Stage::new();
    (1..=2).for_each(|number| stage.append(number));
    let segment = stage.only_segment();
    let whole = fs::metadata(&segment).unwrap().len();
    stage.append(3);
    stage.spool = None;
    let bytes = fs::read(&segment).unwrap();
    for length in whole..bytes.len() as u64 {
        fs::write(&segment, &bytes[..length as usize]).unwrap();
        let recovery = stage.reopen();
        let torn = TornTail { file: segment.clone(), offset: whole, bytes: length - whole };
        let torn = if length > whole { vec![torn] } else { vec![] };
        assert_eq!(recovery, Recovery { undelivered: 2, torn, damaged: vec![] }, "cut to {length}");
        assert_eq!(fs::metadata(&segment).unwrap().len(), whole);
    }
}

#[test]
fn a_damaged_segment_is_put_aside_and_its_readable_records_are_delivered() {
    let mut stage = Stage::new();
    (1..=3).for_each(|number| stage.append(number));
    let segment = stage.only_segment();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let recovery = stage.reopen();
    assert_eq!((recovery.undelivered, recovery.torn.len(), recovery.damaged.len()), (2, 0, 1));
    assert!(recovery.damaged[0].ranges[0].contains(&(middle as u64)));
    assert_eq!(stage.spool().lost(), 1);
    let sink = Arc::default();
    stage.deliver_all(&sink);
    assert_eq!(sink.ids(), [1, 3]);
    assert_eq!(stage.reopen(), Recovery::default());
    assert_eq!(stage.files(), ["0000000001.spool.damaged"]);
}

#[test]
fn a_record_that_changes_under_a_running_server_counts_as_lost_and_holds_up_no_other() {
    let stage = Stage::new();
    (1..=3).for_each(|number| stage.append(number));
    let segment = stage.only_segment();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let sink = Arc::default();
    assert_eq!(stage.spool().lost(), 0);
    stage.deliver_all(&sink);
    assert_eq!((sink.ids(), stage.spool().lost(), stage.spool().depth()), (vec![1, 3], 1, 0));
}

#[test]
fn nobody_is_told_before_the_sync() {
    let stage = Stage::new();
    let (told, synced) = mpsc::channel();
    let (spool, segment) = (stage.spool().clone(), segment::path_of(&stage.folder, 1));
    let look = move || told.send((spool.syncs(), segment::scan(1, &fs::read(segment).unwrap()).records.len()));
    assert!(stage.spool().append(record(1), Box::new(move || look().unwrap())).is_ok());
    let (syncs, records) = synced.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!((syncs, records), (1, 1));
}

#[test]
fn a_sink_that_fails_is_tried_until_it_takes_everything() {
    let stage = Stage::new();
    (1..=40).for_each(|number| stage.append(number));
    let sink = Arc::new(Sink { refusals_left: AtomicU64::new(5), ..Sink::default() });
    stage.deliver_all(&sink);
    assert_eq!(sink.ids(), (1..=40).collect::<Vec<_>>());
}

#[test]
fn a_record_that_is_always_refused_holds_up_no_other_and_alone_is_kept() {
    let mut stage = Stage::new();
    (1..=40).for_each(|number| stage.append(number));
    let sink = Arc::new(Sink { refused_for_ever: Some(MatchId(7)), ..Sink::default() });
    block_on(async {
        let task = tokio::spawn(stage.spool().deliver_to(Arc::clone(&sink) as Arc<dyn Results>));
        let mut depth = stage.spool().inner.shared.depth.subscribe();
        tokio::time::timeout(Duration::from_secs(10), depth.wait_for(|depth| *depth == 1)).await.unwrap().unwrap();
        task.abort();
    });
    assert_eq!(sink.ids().len(), 39);
    assert_eq!(stage.reopen().undelivered, 1);
}

#[test]
fn segments_roll_and_go_when_all_in_them_is_delivered() {
    let mut stage = Stage::new();
    stage.limits.segment_bytes = 1;
    stage.reopen();
    (1..=5).for_each(|number| stage.append(number));
    assert_eq!(stage.files().len(), 5);
    stage.deliver_all(&Arc::default());
    stage.append(6);
    stage.spool().close();
    assert_eq!(stage.files().len(), 1);
    assert_eq!(stage.reopen().undelivered, 1);
}

#[test]
fn a_disk_that_refuses_makes_the_spool_unhealthy_and_loses_nothing() {
    let stage = Stage::new();
    fs::remove_dir_all(&stage.folder).unwrap();
    let (told, synced) = mpsc::channel();
    for number in 1..=3 {
        let told = told.clone();
        assert!(stage.spool().append(record(number), Box::new(move || told.send(number).unwrap())).is_ok());
    }
    let give_up = std::time::Instant::now() + Duration::from_secs(10);
    while stage.spool().healthy() {
        assert!(std::time::Instant::now() < give_up, "still healthy without a folder");
        std::thread::yield_now();
    }
    assert!(synced.try_recv().is_err());
    fs::create_dir_all(&stage.folder).unwrap();
    let told: Vec<u128> = (0..3).map(|_| synced.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
    assert_eq!((told, stage.spool().healthy(), stage.spool().depth()), (vec![1, 2, 3], true, 3));
}

/// Broken by counting the batch under way alone: no more than 64 records.
#[test]
fn every_record_that_the_disk_has_refused_until_the_end_is_counted_as_lost() {
    let stage = Stage::new();
    fs::remove_dir_all(&stage.folder).unwrap();
    for number in 1..=200 {
        assert!(stage.spool().append(record(number), Box::new(|| ())).is_ok());
    }
    stage.spool().close();
    assert_eq!(stage.spool().unwritten(), 200);
    let kept = Stage::new();
    kept.append(1);
    kept.spool().close();
    assert_eq!(kept.spool().unwritten(), 0);
}

#[test]
fn a_closed_spool_gives_records_back_and_has_written_all_it_took() {
    let mut stage = Stage::new();
    for number in 1..=100 {
        assert!(stage.spool().append(record(number), Box::new(|| ())).is_ok());
    }
    stage.spool().close();
    let refused = stage.spool().append(record(101), Box::new(|| ()));
    assert_eq!(refused.err().map(|append| append.record), Some(record(101)));
    assert_eq!(stage.reopen().undelivered, 100);
}
