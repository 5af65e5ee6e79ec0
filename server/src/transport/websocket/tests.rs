//! The shard half in virtual time, with the queues' other ends in the test's hands.
