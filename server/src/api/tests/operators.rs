//! What operators ask and may do: health, metrics, admin routes, request ids.

use super::*;

#[test]
fn readiness_follows_spool_store_and_drain_and_health_follows_the_ticks() {
    block_on(async {
        let stage = Stage::open().await;
        let status = async |path: &str| stage.get(path).await.0.as_u16();
        assert_eq!((status("/readyz").await, status("/healthz").await), (200, 200));
        stage.spool_healthy.store(false, Ordering::Relaxed);
        assert_eq!(status("/readyz").await, 503);
        stage.spool_healthy.store(true, Ordering::Relaxed);
        stage.hosts.stuck.store(true, Ordering::Relaxed);
        assert_eq!(refusal_of(stage.get("/readyz").await), refused(503, "not_ready"), "no shard would take anybody");
        stage.hosts.stuck.store(false, Ordering::Relaxed);
        assert_eq!(status("/readyz").await, 200);
        stage.api.drain();
        assert_eq!(stage.get("/readyz").await.0.as_u16(), 503);
        stage.api.draining.store(false, Ordering::Relaxed);
        stage.api.parts.store.close().await;
        assert_eq!((status("/readyz").await, status("/healthz").await), (503, 200));
        let version: Version = answer(stage.get("/version").await).unwrap();
        assert_eq!(version.fingerprint, stage.api.fingerprint);
        assert_eq!(stage.get("/").await.0, StatusCode::OK);
    });
}

impl Stage {
    async fn ops(&self, request: Request<Body>) -> (StatusCode, Vec<u8>) {
        let (status, _, body) = self.send_to(ops_routes(Arc::clone(&self.api)), request).await;
        (status, body)
    }

    async fn ops_get(&self, path: &str) -> (StatusCode, Vec<u8>) {
        self.ops(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(super) async fn page_of_metrics(&self) -> String {
        String::from_utf8(self.ops_get("/metrics").await.1).unwrap()
    }

    async fn ops_post(&self, path: &str, body: Value) -> (StatusCode, Vec<u8>) {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.ops(request.body(body.to_string().into()).unwrap()).await
    }
}

#[test]
fn metrics_and_admin_routes_are_on_the_operations_listener_only() {
    block_on(async {
        let stage = Stage::open().await;
        for path in ["/metrics", "/admin/v1/shards", "/admin/v1/matches"] {
            assert_eq!(refusal_of(stage.get(path).await), refused(404, "not_found"), "{path} in public");
            assert_eq!(stage.ops_get(path).await.0, StatusCode::OK, "{path} for operators");
        }
        for path in ["/healthz", "/readyz", "/version", "/"] {
            assert_eq!(
                (stage.get(path).await.0, stage.ops_get(path).await.0),
                (StatusCode::OK, StatusCode::OK),
                "{path}"
            );
        }
        let drain = stage.post("/admin/v1/drain", "{}").await;
        assert_eq!(refusal_of(drain), refused(404, "not_found"));
        let joined = stage.ops_post("/v1/quickplay", ada()).await;
        assert_eq!(refusal_of(joined), refused(404, "not_found"), "players stay outside");
    });
}

#[test]
fn an_operator_sees_shards_and_matches_and_can_void_one() {
    block_on(async {
        let stage = Stage::open().await;
        let first = stage.quickplay(ada()).await.unwrap().match_id;
        let shards: Value = answer(stage.ops_get("/admin/v1/shards").await).unwrap();
        assert_eq!(
            (&shards["shards"][0]["players"], &shards["shards"][0]["matches"]["playing"]),
            (&json!(1), &json!(1))
        );
        let running: Value = answer(stage.ops_get("/admin/v1/matches?limit=5").await).unwrap();
        assert_eq!(running["matches"][0]["match_id"], json!(first.to_string()));
        let beyond = stage.ops_get("/admin/v1/matches?limit=1001").await;
        assert_eq!(refusal_of(beyond), refused(400, "invalid_limit"));
        let void = format!("/admin/v1/matches/{first}/void");
        for reason in [json!({"reason": ""}), json!({"reason": "a\nb"}), json!({"reason": "x".repeat(201)})] {
            assert_eq!(refusal_of(stage.ops_post(&void, reason).await), refused(400, "invalid_reason"));
        }
        assert_eq!(refusal_of(stage.ops_post(&void, json!({})).await), refused(400, "invalid_json"));
        assert_eq!(stage.hosts.taken(), [1], "none of these ended it");
        assert_eq!(stage.ops_post(&void, json!({"reason": "cheats"})).await.0, StatusCode::NO_CONTENT);
        assert_eq!(stage.hosts.taken(), [0; 0]);
        let again = stage.ops_post(&void, json!({"reason": "cheats"})).await;
        assert_eq!(refusal_of(again), refused(404, "unknown_match"));
    });
}

/// Broken by a count that begins anew with the process, or that stays when the rows are gone.
#[test]
fn results_that_contradict_count_until_somebody_has_dealt_with_them() {
    block_on(async {
        let stage = Stage::open().await;
        let conflicting = async || {
            let page = stage.page_of_metrics().await;
            page.lines().find_map(|line| line.strip_prefix("astro_results_conflicting ")).unwrap().to_owned()
        };
        let mut forged = record(1);
        forged.rounds = 9;
        // By another process on the same database, so that nothing but the table can tell.
        let other = Store::open(&stage._folder.0).await.unwrap();
        other.store_results(&[record(1)]).await.unwrap();
        assert_eq!(conflicting().await, "0");
        other.store_results(&[forged]).await.unwrap_err();
        assert_eq!(conflicting().await, "1");
        other.forget_conflicts().await;
        assert_eq!(conflicting().await, "0");
    });
}

#[test]
fn an_operator_drains_the_server() {
    block_on(async {
        let stage = Stage::open().await;
        stage.quickplay(ada()).await.unwrap();
        let long = stage.ops_post("/admin/v1/drain", json!({"grace_seconds": 100_000})).await;
        assert_eq!(refusal_of(long), refused(400, "invalid_grace"));
        assert_eq!(stage.ops_get("/readyz").await.0, StatusCode::OK, "not yet");
        let (status, body) = stage.ops_post("/admin/v1/drain", json!({})).await;
        let told: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, told), (StatusCode::ACCEPTED, json!({"players": 1, "grace_seconds": 30})));
        tokio::task::yield_now().await;
        assert!(stage.hosts.drained.load(Ordering::Relaxed));
        assert_eq!(refusal_of(stage.ops_get("/readyz").await), refused(503, "not_ready"));
        assert_eq!(stage.quickplay(ada()).await, Err(refused(503, "draining")));
    });
}

#[test]
fn with_a_key_operators_must_show_it_and_web_pages_change_nothing() {
    block_on(async {
        let mut stage = Stage::open().await;
        let drain = |origin: bool| {
            let request = Request::post("/admin/v1/drain").header(header::CONTENT_TYPE, "application/json");
            let request = if origin { request.header(header::ORIGIN, "http://evil.example") } else { request };
            request.body(Body::from("{}")).unwrap()
        };
        assert_eq!(refusal_of(stage.ops(drain(true)).await), refused(403, "from_browser"));
        let plain = Request::post("/admin/v1/drain").body(Body::from("{}")).unwrap();
        assert_eq!(refusal_of(stage.ops(plain).await), refused(415, "not_json"), "what a form on a page can send");
        let api = Arc::get_mut(&mut stage.api).expect("nobody else has it");
        api.parts.operators.key = Some(FleetKey::new("ops-key"));
        assert_eq!(refusal_of(stage.ops(drain(false)).await), refused(401, "unauthorized"));
        for (key, status) in [("ops-key", 200), ("the-key", 401), ("", 401)] {
            let request = Request::get("/metrics").header(header::AUTHORIZATION, format!("Bearer {key}"));
            assert_eq!(stage.ops(request.body(Body::empty()).unwrap()).await.0.as_u16(), status, "{key:?}");
        }
        assert_eq!(stage.ops_get("/healthz").await.0, StatusCode::OK, "load balancers have no key");
        assert!(!stage.hosts.drained.load(Ordering::Relaxed));
    });
}

#[test]
fn every_answer_names_its_request_and_is_counted_by_route() {
    block_on(async {
        let stage = Stage::open().await;
        let ask = async |path: &str| {
            let (_, headers, _) = stage.send(Request::get(path).body(Body::empty()).unwrap()).await;
            headers["x-request-id"].to_str().unwrap().to_owned()
        };
        let id = MatchId(5);
        let (first, second) = (ask(&format!("/v1/matches/{id}")).await, ask("/v1/matches/12").await);
        assert!(first.len() == 16 && first != second);
        ask("/v1/nothing/../..").await;
        stage.post("/v1/matches", "{}").await;
        let page = stage.api.parts.metrics.render();
        for (route, method, status, count) in [
            ("/v1/matches/{id}", "GET", 404, 1),
            ("/v1/matches/{id}", "GET", 400, 1),
            ("unmatched", "GET", 404, 1),
            ("/v1/matches", "POST", 405, 1),
        ] {
            let line = format!(
                "astro_http_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}} {count}\n"
            );
            assert!(page.contains(&line), "no {line} in\n{page}");
        }
        assert!(!page.contains("nothing") && !page.contains(&id.to_string()), "a path on the page");
    });
}
