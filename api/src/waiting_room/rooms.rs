//! The rooms of all merchants as a process knows them: read, stepped and asked.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use base::{Ambient, Timestamp, time::between};
use http::{HeaderMap, HeaderValue, header};
use store::{OrderStore, admission::WaitingRoom, domain::MerchantId};

use super::{
    booth::Booth,
    place::{self, RoomPlace},
    rule::{self, RoomLoad, Standing},
};
use crate::{
    admission::OrderAdmission,
    problem::{Problem, Result},
};

/// Interval at which rooms are read and take their steps.
const STEP_EVERY: Duration = Duration::from_secs(1);
/// Seconds after which a shopper should ask again, at least and at most.
pub(super) const ASK_SECONDS: [u64; 2] = [2, 30];
/// Lifetime of the cookie, in seconds: a day.
const COOKIE_SECONDS: u32 = 86_400;

/// The rooms of all merchants, as this process last read them.
pub(crate) struct WaitingRooms {
    orders: Arc<dyn OrderStore>,
    ambient: Ambient,
    admission: Arc<OrderAdmission>,
    rooms: RwLock<HashMap<MerchantId, Arc<WaitingRoom>>>,
    /// Rooms that shoppers went through at the last step.
    in_use: AtomicU32,
    booth: Arc<Booth>,
}

/// How a shopper stands, and with which place.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    /// The signed place, as the shopper carries it from now on.
    pub(crate) place: String,
    pub(crate) standing: Standing,
    pub(crate) estimated_admission_at: Option<Timestamp>,
    pub(crate) opens_at: Option<Timestamp>,
    /// Whether the place was taken now.
    pub(crate) is_new: bool,
}

impl WaitingRooms {
    pub(crate) fn new(orders: Arc<dyn OrderStore>, ambient: Ambient, admission: Arc<OrderAdmission>) -> Self {
        let booth = Arc::new(Booth::new(Arc::clone(&orders)));
        Self { orders, ambient, admission, rooms: RwLock::default(), in_use: AtomicU32::new(0), booth }
    }

    /// The room that the merchant's shoppers go through now.
    pub(crate) fn required(&self, merchant: MerchantId) -> Option<Arc<WaitingRoom>> {
        let now = self.ambient.now();
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.get(&merchant).filter(|room| rule::is_required(room, now)).cloned()
    }

    /// The place that a request carries, if it is one of this room.
    fn carried(room: &WaitingRoom, headers: &HeaderMap) -> Option<(RoomPlace, String)> {
        let text = place::carried(headers)?;
        Some((RoomPlace::verified(text, room.merchant, &room.key)?, text.to_owned()))
    }

    /// The place of a shopper who may order now.
    pub(crate) fn admitted(&self, room: &WaitingRoom, headers: &HeaderMap) -> Option<RoomPlace> {
        let (place, _) = Self::carried(room, headers)?;
        let standing = rule::standing(room, place.number, self.ambient.now());
        matches!(standing, Standing::Admitted { .. }).then_some(place)
    }

    /// How a shopper stands who carries a place of this room that counts; `None` for one who has to take a place.
    pub(crate) fn visit(&self, room: &WaitingRoom, headers: &HeaderMap) -> Option<Visit> {
        let (place, text) = Self::carried(room, headers)?;
        let visit = self.visit_of(room, place, text, false);
        (visit.standing != Standing::Expired).then_some(visit)
    }

    /// Takes a place for a shopper; `None` when the room was switched off meanwhile.
    pub(crate) async fn enter(&self, room: &WaitingRoom) -> Result<Option<Visit>> {
        let Some(number) = self.booth.take(room.merchant).await? else {
            // Not only at the next step: a shopper who is told that the room is open orders at once.
            self.rooms.write().unwrap_or_else(PoisonError::into_inner).remove(&room.merchant);
            return Ok(None);
        };
        let place = RoomPlace::fresh(number, self.ambient.now(), &self.ambient);
        let signed = place.signed(room.merchant, &room.key).ok_or_else(|| {
            tracing::error!(merchant.id = %room.merchant, "place in a waiting room not signed");
            Problem::logged()
        })?;
        Ok(Some(self.visit_of(room, place, signed, true)))
    }

    fn visit_of(&self, room: &WaitingRoom, place: RoomPlace, text: String, is_new: bool) -> Visit {
        let now = self.ambient.now();
        let standing = rule::standing(room, place.number, now);
        let estimated_admission_at = match standing {
            Standing::Waiting { ahead } => rule::estimate(room, ahead, &self.load(), now),
            Standing::Admitted { .. } | Standing::Expired => None,
        };
        let opens_at = room.mode.opens_at.filter(|opens_at| *opens_at > now);
        Visit { place: text, standing, estimated_admission_at, opens_at, is_new }
    }

    fn load(&self) -> RoomLoad {
        let rooms = self.in_use.load(Ordering::Relaxed);
        RoomLoad { backlog: self.admission.backlog(), limits: *self.admission.limits(), rooms }
    }

    /// Reads the rooms and takes the steps that are due.
    async fn step(&self) {
        let mut rooms = match self.orders.waiting_rooms().await {
            Ok(rooms) => rooms,
            Err(error) => {
                // Requests log the outage of the store. Rooms stay as they were read last.
                tracing::debug!(%error, "waiting rooms not read");
                return;
            }
        };
        let now = self.ambient.now();
        let in_use = rooms.iter().filter(|room| rule::is_required(room, now)).count();
        self.in_use.store(u32::try_from(in_use).unwrap_or(u32::MAX), Ordering::Relaxed);
        let load = self.load();
        for room in &mut rooms {
            let Some(step) = rule::step(room, &load, now) else { continue };
            let made = self.orders.step_room(room.merchant, room.version, step.progress.clone(), step.at);
            // Where another process has made a step, its own is read a second later.
            if let Ok(true) = made.await {
                (room.progress, room.stepped_at, room.version) = (step.progress, step.at, room.version + 1);
            }
        }
        let rooms = rooms.into_iter().map(|room| (room.merchant, Arc::new(room))).collect();
        *self.rooms.write().unwrap_or_else(PoisonError::into_inner) = rooms;
    }
}

impl Visit {
    /// Seconds after which the shopper should ask again: more often, the sooner the admission.
    pub(crate) fn ask_again_seconds(&self, now: Timestamp) -> Option<u64> {
        if !matches!(self.standing, Standing::Waiting { .. }) {
            return None;
        }
        let wait = self.estimated_admission_at.map(|at| between(now, at).as_secs() / 4);
        let [least, most] = ASK_SECONDS;
        Some(wait.unwrap_or(most).clamp(least, most))
    }

    /// The cookie that keeps the place in a browser.
    pub(crate) fn cookie(&self) -> HeaderMap {
        let cookie = format!(
            "{}={}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Lax",
            place::COOKIE,
            self.place
        );
        let cookie = HeaderValue::try_from(cookie).ok();
        cookie.into_iter().map(|cookie| (header::SET_COOKIE, cookie)).collect()
    }
}

/// Takes the steps of the rooms until the last clone of the state is dropped.
pub(crate) async fn step(rooms: Weak<WaitingRooms>) {
    let mut ticks = tokio::time::interval(STEP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(rooms) = rooms.upgrade() else { break };
        rooms.step().await;
    }
}
