//! A small pool of threads for blocking HTTP, so that the thread that flies never waits for it.
//!
//! In: jobs. Out: what came of them, in any order.
//! *Invariant:* the queues are as long as what one run can have open: a job per bot, match and scrape.
//! Start reading at [`Workers`].

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use astro_shared::api::{MatchSummary, QuickplayRequest};
use astro_shared::sim::units::MatchId;

use super::fleet::LostSeat;
use crate::net::Transport;
use crate::net::websocket::ClientWebSocket;
use crate::service::{Joined, Service, ServiceError};

/// Requests at a time. A join waits for a tick of the shard, some 20 ms, so this many make about 800 joins a second.
pub const WORKERS: usize = 16;

/// Something to ask the service.
#[derive(Clone, Debug)]
pub enum Job {
    Join(JoinJob),
    Return(ReturnJob),
    /// Whether the result of the match with number `index` is stored.
    Confirm {
        index: usize,
        id: MatchId,
    },
    /// The metrics of the operations listener at that address.
    Scrape {
        ops: String,
    },
}

/// A seat to ask for, for a bot of `group`.
#[derive(Clone, Debug)]
pub struct JoinJob {
    pub group: usize,
    pub request: QuickplayRequest,
    /// What the bot will play over.
    pub transport: Transport,
    /// Counts from 1.
    pub attempt: u32,
}

/// A seat to ask for again.
#[derive(Clone, Debug)]
pub struct ReturnJob {
    pub lost: LostSeat,
    pub transport: Transport,
    /// Counts from 1.
    pub attempt: u32,
}

/// A seat won, and the connection to it where that is more than a ticket.
pub struct Boarding {
    pub joined: Joined,
    pub websocket: Option<Box<ClientWebSocket>>,
}

/// What the service said.
pub enum Done {
    /// `asked` is when the request began.
    Joined {
        job: JoinJob,
        asked: Instant,
        result: Result<Boarding, ServiceError>,
    },
    Returned {
        job: ReturnJob,
        asked: Instant,
        result: Result<Boarding, ServiceError>,
    },
    Confirmed {
        job: Job,
        index: usize,
        result: Result<Option<MatchSummary>, ServiceError>,
    },
    /// `at` is the middle of the request.
    Scraped {
        at: Instant,
        result: Result<String, ServiceError>,
    },
}

/// The pool. Its threads end when it is dropped, each after the request it is at.
pub struct Workers {
    jobs: Sender<Job>,
    done: Receiver<Done>,
}

impl Workers {
    pub fn start(service: Arc<Service>) -> Workers {
        let (jobs, todo) = channel();
        let (finished, done) = channel();
        let todo = Arc::new(Mutex::new(todo));
        for _ in 0..WORKERS {
            let (service, todo, finished) = (service.clone(), todo.clone(), finished.clone());
            thread::spawn(move || work(&service, &todo, &finished));
        }
        Workers { jobs, done }
    }

    pub fn give(&self, job: Job) {
        // Fails only when every thread has panicked; then nothing comes back, and the run ends by its time limits.
        let _ = self.jobs.send(job);
    }

    pub fn poll(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }
}

fn work(service: &Service, todo: &Mutex<Receiver<Job>>, finished: &Sender<Done>) {
    loop {
        let next = todo.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        if finished.send(carry_out(service, job)).is_err() {
            return;
        }
    }
}

/// Over WebSocket, connects to a seat that was won: that blocks, and must not stall the thread that flies.
fn connect(joined: Joined, transport: Transport) -> Result<Boarding, ServiceError> {
    let websocket = match transport {
        Transport::Udp => None,
        Transport::WebSocket => {
            Some(Box::new(ClientWebSocket::connect(&joined.websocket).map_err(ServiceError::from_websocket)?))
        }
    };
    Ok(Boarding { joined, websocket })
}

fn carry_out(service: &Service, job: Job) -> Done {
    let asked = Instant::now();
    match job {
        Job::Join(job) => {
            let result = service.join(&job.request).and_then(|joined| connect(joined, job.transport));
            Done::Joined { job, asked, result }
        }
        Job::Return(job) => {
            let seat = service.rejoin(job.lost.match_id, &job.lost.seat_secret);
            let result = seat.and_then(|joined| connect(joined, job.transport));
            Done::Returned { job, asked, result }
        }
        Job::Confirm { index, id } => {
            let result = service.match_summary(id);
            Done::Confirmed { job, index, result }
        }
        Job::Scrape { ops } => {
            let result = service.metrics(&ops);
            Done::Scraped { at: asked + asked.elapsed() / 2, result }
        }
    }
}
