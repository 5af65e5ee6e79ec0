//! Finished matches in the store: written once, read by id or newest first.
//!
//! In: [`MatchRecord`]s. Out: [`FinishedMatch`]es and replay bytes.
//! *Invariant:* however often and in whatever order records arrive, each match is stored once and never changed.
//! *Invariant:* one delivery is one transaction; an error means that none of it is stored, except
//! [`StoreError::Conflict`], which means that all the others are.
//! Start reading at [`Store::store_results`].

use astro_shared::sim::units::MatchId;

use super::engine::{Row, Transaction, params};
use super::{Store, StoreError};
use crate::hosts::{MatchRecord, SeatRecord};
use crate::records::{body_sha256, encode};

/// Matches in one answer at most.
pub const RECENT_MATCHES_MAX: u32 = 100;

/// A stored match without its replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedMatch {
    pub match_id: MatchId,
    pub mode: String,
    pub rules: String,
    /// 16 hex digits.
    pub rules_hash: String,
    pub arena: String,
    /// Unix time in milliseconds.
    pub started_ms: u64,
    pub ended_ms: u64,
    pub ticks: u32,
    pub rounds: u8,
    pub winner: Option<u8>,
    /// Why it ended without a result.
    pub void: Option<String>,
    /// By number of the seat.
    pub seats: Vec<SeatRecord>,
}

impl Store {
    /// Stores records that are new, passes over those already stored, and sets aside those that contradict.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a match is stored with another result: the contradicting record lies in
    /// `match_conflicts`, all others are stored. Any other error: nothing has changed, try again.
    pub async fn store_results(&self, records: &[MatchRecord]) -> Result<(), StoreError> {
        let mut conflicts = Vec::new();
        let mut transaction = self.begin().await?;
        for record in records {
            let body = encode(record);
            let sha256 = body_sha256(&body);
            if insert_match(&mut transaction, record, &sha256).await? {
                insert_seats(&mut transaction, record).await?;
                insert_replay(&mut transaction, record).await?;
            } else if !is_stored_as(&mut transaction, record.match_id, &sha256).await? {
                set_aside(&mut transaction, record.match_id, &sha256, &body).await?;
                conflicts.push(record.match_id);
            }
        }
        transaction.commit().await?;
        if conflicts.is_empty() { Ok(()) } else { Err(StoreError::Conflict(conflicts)) }
    }

    /// The match, once it is stored.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn match_by_id(&self, match_id: MatchId) -> Result<Option<FinishedMatch>, StoreError> {
        let sql = "SELECT * FROM matches JOIN match_seats USING (match_id) WHERE match_id = $1 ORDER BY seat";
        let rows = self.read().await?.rows(sql, params![key(match_id)]).await?;
        Ok(gather(&rows)?.pop())
    }

    /// The newest matches, newest first; at most [`RECENT_MATCHES_MAX`].
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn recent_matches(&self, limit: u32) -> Result<Vec<FinishedMatch>, StoreError> {
        let sql = "SELECT * FROM (SELECT * FROM matches ORDER BY ended_ms DESC, match_id DESC LIMIT $1) AS newest \
                   JOIN match_seats USING (match_id) ORDER BY ended_ms DESC, match_id DESC, seat";
        let rows = self.read().await?.rows(sql, params![limit.min(RECENT_MATCHES_MAX)]).await?;
        gather(&rows)
    }

    /// The replay file of a stored match.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn replay(&self, match_id: MatchId) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT replay FROM match_replays WHERE match_id = $1";
        let row = self.read().await?.row(sql, params![key(match_id)]).await?;
        row.map(|row| row.bytes("replay")).transpose()
    }
}

/// Inserts the match itself; `false` when it is there already.
async fn insert_match(
    transaction: &mut Transaction,
    record: &MatchRecord,
    sha256: &[u8; 32],
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO matches (match_id, mode, rules, rules_hash, arena, started_ms, ended_ms, ticks, rounds, \
               winner, void_reason, body_sha256) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
               ON CONFLICT (match_id) DO NOTHING";
    let values = params![
        key(record.match_id),
        &record.mode,
        &record.rules,
        astro_shared::api::hex(record.rules_hash),
        &record.arena,
        record.started_ms,
        record.ended_ms,
        record.ticks,
        record.rounds,
        record.winner,
        record.void.clone(),
        *sha256,
    ];
    Ok(transaction.execute(sql, values).await? == 1)
}

async fn insert_seats(transaction: &mut Transaction, record: &MatchRecord) -> Result<(), StoreError> {
    let sql = "INSERT INTO match_seats (match_id, seat, name, pilot, has_left, placement, rounds_won, kills, deaths, \
               assists, shots, hits, survival_ticks, streak_longest) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    for (number, seat) in record.seats.iter().enumerate() {
        let values = params![
            key(record.match_id),
            number as u32,
            &seat.name,
            seat.pilot,
            seat.left,
            seat.placement,
            seat.rounds_won,
            seat.kills,
            seat.deaths,
            seat.assists,
            seat.shots,
            seat.hits,
            seat.survival_ticks,
            seat.streak_longest,
        ];
        transaction.execute(sql, values).await?;
    }
    Ok(())
}

async fn insert_replay(transaction: &mut Transaction, record: &MatchRecord) -> Result<(), StoreError> {
    if record.replay.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO match_replays (match_id, replay) VALUES ($1, $2)";
    transaction.execute(sql, params![key(record.match_id), &record.replay[..]]).await?;
    Ok(())
}

async fn is_stored_as(transaction: &mut Transaction, match_id: MatchId, sha256: &[u8; 32]) -> Result<bool, StoreError> {
    let sql = "SELECT body_sha256 FROM matches WHERE match_id = $1";
    let row = transaction.row(sql, params![key(match_id)]).await?;
    Ok(row.map(|row| row.bytes("body_sha256")).transpose()?.is_some_and(|stored| stored == sha256))
}

async fn set_aside(
    transaction: &mut Transaction,
    match_id: MatchId,
    sha256: &[u8; 32],
    body: &[u8],
) -> Result<(), StoreError> {
    let sql = "INSERT INTO match_conflicts (match_id, body_sha256, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    transaction.execute(sql, params![key(match_id), *sha256, body]).await?;
    Ok(())
}

fn key(match_id: MatchId) -> [u8; 16] {
    match_id.0.to_be_bytes()
}

/// Folds rows of "match joined with seat", sorted by match and seat, into matches.
fn gather(rows: &[Row]) -> Result<Vec<FinishedMatch>, StoreError> {
    let mut matches: Vec<FinishedMatch> = Vec::new();
    for row in rows {
        let match_id = MatchId(row.id("match_id")?);
        if matches.last().is_none_or(|last| last.match_id != match_id) {
            matches.push(match_of(row, match_id)?);
        }
        if let Some(last) = matches.last_mut() {
            last.seats.push(seat_of(row)?);
        }
    }
    Ok(matches)
}

fn match_of(row: &Row, match_id: MatchId) -> Result<FinishedMatch, StoreError> {
    Ok(FinishedMatch {
        match_id,
        mode: row.text("mode")?,
        rules: row.text("rules")?,
        rules_hash: row.text("rules_hash")?,
        arena: row.text("arena")?,
        started_ms: row.number("started_ms")?,
        ended_ms: row.number("ended_ms")?,
        ticks: row.number("ticks")?,
        rounds: row.number("rounds")?,
        winner: row.option_number("winner")?,
        void: row.option_text("void_reason")?,
        seats: Vec::new(),
    })
}

fn seat_of(row: &Row) -> Result<SeatRecord, StoreError> {
    Ok(SeatRecord {
        name: row.text("name")?,
        pilot: row.flag("pilot")?,
        left: row.flag("has_left")?,
        placement: row.option_number("placement")?,
        rounds_won: row.number("rounds_won")?,
        kills: row.number("kills")?,
        deaths: row.number("deaths")?,
        assists: row.number("assists")?,
        shots: row.number("shots")?,
        hits: row.number("hits")?,
        survival_ticks: row.number("survival_ticks")?,
        streak_longest: row.number("streak_longest")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::{record, void_record};
    use crate::store::tests::both;

    #[test]
    fn what_is_stored_comes_back_whole() {
        both(async |store| {
            let mut tied = record(2);
            tied.winner = None;
            store.store_results(&[record(1), tied.clone()]).await.unwrap();
            let found = store.match_by_id(MatchId(2)).await.unwrap().unwrap();
            assert_eq!(found.seats, tied.seats);
            assert_eq!((found.winner, found.ticks, found.rules_hash.as_str()), (None, 900, "fffffffffffffffe"));
            assert_eq!((found.started_ms, found.ended_ms), (tied.started_ms, tied.ended_ms));
            assert_eq!(store.replay(MatchId(2)).await.unwrap(), Some(tied.replay));
            assert_eq!(store.match_by_id(MatchId(3)).await.unwrap(), None);
            assert_eq!(store.replay(MatchId(3)).await.unwrap(), None);
        });
    }

    #[test]
    fn a_match_without_a_result_is_stored_with_the_reason_and_without_places_or_replay() {
        both(async |store| {
            for _ in 0..2 {
                store.store_results(&[record(1), void_record(2)]).await.unwrap();
            }
            let found = store.match_by_id(MatchId(2)).await.unwrap().unwrap();
            assert_eq!((found.void.as_deref(), found.winner), (Some("server shutdown"), None));
            assert_eq!(found.seats, void_record(2).seats);
            assert_eq!(store.replay(MatchId(2)).await.unwrap(), None);
            assert_eq!(store.match_by_id(MatchId(1)).await.unwrap().unwrap().void, None);
            let error = store.store_results(&[void_record(1)]).await.unwrap_err();
            assert!(matches!(error, StoreError::Conflict(_)), "a result is not made void afterwards");
        });
    }

    #[test]
    fn the_newest_matches_come_first_with_all_their_seats() {
        both(async |store| {
            for chunk in (0..120).map(record).collect::<Vec<_>>().chunks(32) {
                store.store_results(chunk).await.unwrap();
            }
            let recent = store.recent_matches(3).await.unwrap();
            assert_eq!(recent.iter().map(|m| m.match_id.0).collect::<Vec<_>>(), [119, 118, 117]);
            assert!(recent.iter().all(|m| m.seats.len() == 2));
            assert_eq!(store.recent_matches(5000).await.unwrap().len(), 100);
        });
    }

    #[test]
    fn a_result_delivered_twice_is_stored_once() {
        both(async |store| {
            store.store_results(&[record(1), record(2), record(1)]).await.unwrap();
            store.store_results(&[record(2), record(3)]).await.unwrap();
            assert_eq!(store.count("SELECT count(*) AS found FROM matches").await, 3);
            assert_eq!(store.count("SELECT count(*) AS found FROM match_seats").await, 6);
            assert_eq!(store.count("SELECT count(*) AS found FROM match_replays").await, 3);
            assert_eq!(store.conflicts().await.unwrap(), 0);
        });
    }

    #[test]
    fn a_contradicting_result_is_set_aside_and_the_others_are_stored() {
        both(async |store| {
            store.store_results(&[record(1)]).await.unwrap();
            let mut forged = record(1);
            forged.winner = Some(1);
            for _ in 0..2 {
                let error = store.store_results(&[forged.clone(), record(2)]).await.unwrap_err();
                assert!(matches!(error, StoreError::Conflict(matches) if matches == [MatchId(1)]));
            }
            assert_eq!(store.match_by_id(MatchId(1)).await.unwrap().unwrap().winner, Some(0));
            assert!(store.match_by_id(MatchId(2)).await.unwrap().is_some());
            assert_eq!(store.conflicts().await.unwrap(), 1);
        });
    }

    #[test]
    fn a_delivery_that_cannot_be_stored_leaves_nothing_behind() {
        both(async |store| {
            let mut impossible = record(2);
            impossible.seats[1].placement = Some(9);
            assert!(matches!(store.store_results(&[record(1), impossible]).await, Err(StoreError::Database(_))));
            assert_eq!(store.count("SELECT count(*) AS found FROM matches").await, 0);
            store.store_results(&[record(1)]).await.unwrap();
        });
    }
}
