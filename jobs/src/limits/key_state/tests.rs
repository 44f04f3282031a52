//! Tests of the slots and starts of a key, in virtual time.

use super::*;

const TTL: Duration = Duration::from_secs(15);

struct Key {
    state: KeyState,
    limit: Limit,
    ambient: Ambient,
}

impl Key {
    fn of(limit: Limit) -> Self {
        let ambient = Ambient::system();
        Self { state: KeyState::new(Instant::now()), limit, ambient }
    }

    fn start(&mut self) -> Option<StartTaken> {
        self.state.start(&self.limit, JobId::fresh(&self.ambient), &self.ambient)
    }

    fn wait(&mut self) -> bool {
        self.state.waits(JobId::fresh(&self.ambient), Instant::now())
    }

    /// Answers a question that was asked now.
    fn answer(&mut self, wants: Wants, slots: u32) {
        let end = Moment::now(&self.ambient).after(TTL);
        let answer = LeasedSlots { slots, free: 0, parked: false };
        self.state.leased(&self.limit, wants, answer, (end, &self.ambient));
        self.state.answered(TTL / 3, None);
    }

    fn term(&mut self) -> Arc<Term> {
        self.start().and_then(|taken| taken.term).expect("a slot")
    }
}

fn up_to(most: u32) -> Key {
    Key::of(Limit::concurrent("roads", most).unwrap())
}

#[tokio::test(start_paused = true)]
async fn slots_to_be_given_back_are_not_used_any_more() {
    let mut key = up_to(3);
    assert!(key.start().is_none() && key.wait() && key.wait());
    let wants = key.state.wants(&key.limit);
    assert_eq!(wants.slots, 2);
    key.answer(wants, 2);
    let (first, _second) = (key.term(), key.term());
    assert!(key.start().is_none(), "both are used");
    key.state.ended(&first, Instant::now());
    key.state.contended = true;
    assert_eq!(key.state.wants(&key.limit).slots, 1);
    assert!(key.start().is_none(), "from before the store is asked");
}

#[tokio::test(start_paused = true)]
async fn further_jobs_are_parked_for_a_while_after_a_refusal() {
    let mut key = up_to(1);
    assert!(key.wait() && key.wait());
    let wants = key.state.wants(&key.limit);
    assert_eq!(wants.slots, 1, "not more than there are");
    key.answer(wants, 1);
    assert!(key.start().is_some() && key.start().is_none());
    assert!(!key.wait(), "the store had one for two");
    tokio::time::advance(REFUSED_FOR).await;
    assert!(key.wait(), "asked again");
}

#[tokio::test(start_paused = true)]
async fn a_term_that_is_over_stays_over_and_its_runs_hold_no_slot_of_the_next() {
    let mut key = up_to(2);
    assert!(key.wait());
    let wants = key.state.wants(&key.limit);
    key.answer(wants, 1);
    let first = key.term();
    tokio::time::advance(TTL / 3).await;
    let wants = key.state.wants(&key.limit);
    key.answer(wants, 1);
    tokio::time::advance(TTL.saturating_sub(Duration::from_secs(1))).await;
    assert!(!first.is_over(), "renewed");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(first.is_over() && key.start().is_none());
    assert!(key.wait());
    let wants = key.state.wants(&key.limit);
    assert_eq!(wants.slots, 1, "the run that is lost needs none");
    key.answer(wants, 1);
    let second = key.term();
    assert!(first.is_over() && !second.is_over());
    assert_eq!(key.state.ended(&first, Instant::now()), (false, false));
    assert!(key.start().is_none(), "its end frees none of the new term");
}

#[tokio::test(start_paused = true)]
async fn starts_end_with_their_block_and_the_rest_is_returned() {
    let mut key = Key::of(Limit::rate("roads", 5, Duration::from_secs(1)).unwrap());
    assert!(key.wait() && key.wait());
    let wants = key.state.wants(&key.limit);
    assert_eq!((wants.slots, wants.starts), (0, 2));
    let valid_for = Duration::from_millis(250);
    let answer =
        GrantedStarts { block: 7, starts: 2, valid_for, free: 3, free_in: Duration::ZERO, parked: false };
    key.state.granted(wants, answer, Moment::now(&key.ambient));
    assert!(key.start().is_some_and(|taken| taken.term.is_none()));
    assert_eq!(key.state.unused_block(&key.ambient, false), None, "it lasts");
    tokio::time::advance(valid_for).await;
    assert!(key.start().is_none());
    assert_eq!(key.state.unused_block(&key.ambient, false), Some((7, 1)));
    key.state.waiting.clear();
    assert!(key.state.is_idle(Instant::now()));
}
