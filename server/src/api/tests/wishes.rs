//! What a request may wish for: seats, arenas, and what a private match changes about its rules.

use super::*;

/// A private request of Ada's with some fields more.
fn wish(more: Value) -> Value {
    let mut wish = json!({"name": "Ada", "mode": "last_ship", "rules": "sprint", "group": "friends"});
    wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    wish
}

fn message((status, body): (StatusCode, Vec<u8>)) -> (u16, String, String) {
    let error: Problem = serde_json::from_slice(&body).unwrap();
    (status.as_u16(), error.code, error.detail)
}

/// Broken by overrides that open the preset's match, by matches that are told apart although their rules are equal, or by
/// rules that cannot be fetched.
#[test]
fn friends_with_the_same_overrides_meet_and_can_fetch_their_rules() {
    block_on(async {
        let stage = Stage::open().await;
        let plain = stage.quickplay(wish(json!({}))).await.unwrap();
        let three = || wish(json!({"overrides": {"lives": 3, "items": ["laser"]}}));
        let first = stage.quickplay(three()).await.unwrap();
        let second = stage.quickplay(three()).await.unwrap();
        assert_eq!((first.match_id, first.rules_hash.clone()), (second.match_id, second.rules_hash));
        assert_ne!((first.match_id, &first.rules_hash), (plain.match_id, &plain.rules_hash));
        // As in the preset anyway: no other rules, so no other match.
        let same = stage.quickplay(wish(json!({"overrides": {"lives": 1}, "arena": "open"}))).await.unwrap();
        assert_eq!((same.match_id, same.rules_hash), (plain.match_id, plain.rules_hash));
        let (status, text) = stage.get(&format!("/v1/rules/{}", first.rules_hash)).await;
        assert_eq!(status, StatusCode::OK);
        let text = String::from_utf8(text).unwrap();
        let rules = astro_shared::sim::rules::Ruleset::from_text("answer", &text).unwrap();
        assert_eq!(astro_shared::api::hex(rules.hash()), first.rules_hash);
        assert_eq!((rules.name(), rules.lives, rules.items.allowed.len()), ("sprint", 3, 1));
    });
}

/// Broken by strangers who are sent apart for naming the arena that the preset has, or together into another one.
#[test]
fn an_arena_may_be_wished_for_by_strangers_too() {
    block_on(async {
        let stage = Stage::open().await;
        let ask = async |arena: Option<&str>| {
            let mut wish = ada();
            if let Some(arena) = arena {
                wish.as_object_mut().unwrap().insert("arena".into(), arena.into());
            }
            stage.quickplay(wish).await.map(|ticket| ticket.match_id)
        };
        let open = ask(None).await.unwrap();
        assert_eq!(ask(Some("open")).await.unwrap(), open);
        let cage = ask(Some("cage")).await.unwrap();
        assert_ne!(cage, open);
        assert_eq!(ask(Some("cage")).await.unwrap(), cage);
        assert_eq!(ask(Some("moon")).await, Err(refused(400, "unknown_arena")));
    });
}

/// Broken by a refusal without the name of what is refused, or by overrides that strangers get.
#[test]
fn wishes_that_cannot_be_are_refused_with_the_reason() {
    block_on(async {
        let stage = Stage::open().await;
        let ask = async |wish: Value| message(stage.post("/v1/quickplay", wish.to_string()).await);
        let mut public = ada();
        public.as_object_mut().unwrap().insert("overrides".into(), json!({"lives": 3}));
        let (status, code, said) = ask(public).await;
        assert_eq!((status, code.as_str()), (400, "overrides_need_group"));
        assert!(said.contains("`group`"), "{said}");
        for (overrides, code, part) in [
            (json!({"lives": 99}), "invalid_overrides", "field `lives`: is 99, must be between 1 and 9"),
            (json!({"items": ["banana"]}), "invalid_json", "banana"),
            (json!({"gravity": 3}), "invalid_json", "gravity"),
        ] {
            let (status, found, said) = ask(wish(json!({"overrides": overrides}))).await;
            assert_eq!((status, found.as_str()), (400, code), "{said}");
            assert!(said.contains(part), "{said}");
        }
        let pinball = wish(json!({"rules": "pinball", "overrides": {"ammunition": 7}}));
        assert!(ask(pinball).await.2.contains("bullets in flight"));
        assert!(stage.hosts.taken().is_empty());
    });
}

/// Broken by a match with seats that its mode cannot be played by, or by a mode that must be given them.
#[test]
fn seats_are_as_the_mode_says() {
    block_on(async {
        let stage = Stage::open().await;
        let ask = async |mode: &str, seats: Option<u8>| {
            let mut wish = json!({"name": "Ada", "mode": mode, "rules": mode});
            if let Some(seats) = seats {
                wish.as_object_mut().unwrap().insert("seats".into(), seats.into());
            }
            stage.quickplay(wish).await.map(|ticket| ticket.seats)
        };
        assert_eq!(ask("duel", None).await, Ok(2));
        assert_eq!(ask("duel", Some(2)).await, Ok(2));
        assert_eq!(ask("duel", Some(3)).await, Err(refused(400, "invalid_seats")));
        assert_eq!(ask("teams", None).await, Ok(4));
        assert_eq!(ask("teams", Some(5)).await, Err(refused(400, "invalid_seats")));
        assert_eq!(ask("teams", Some(6)).await, Ok(6));
        assert_eq!(ask("king", Some(8)).await, Ok(8));
    });
}
