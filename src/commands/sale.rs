//! Command `merchant sale`: whether a merchant's shoppers go through the waiting room, and how many are admitted.
//!
//! Works whether processes run or not, and in every mode; every API process follows within two seconds.

use anyhow::{Context, Result};
use base::{Ambient, Timestamp};
use serde_json::json;
use store::{
    OrderStore,
    admission::{RoomOrder, SaleMode, SaleSwitch, WaitingRoom},
};

use crate::{cli::SaleArgs, output};

/// Sale mode of a merchant that never had one.
const USUAL: SaleMode = SaleMode {
    switch: SaleSwitch::Off,
    order: RoomOrder::Fifo,
    active_max: 1_000,
    per_minute_max: 600,
    active_seconds: 600,
    begins_at: None,
    opens_at: None,
    ends_at: None,
};

pub(super) async fn run(
    store: &dyn OrderStore,
    args: SaleArgs,
    ambient: &Ambient,
    as_json: bool,
) -> Result<()> {
    let merchant = args.merchant;
    store.merchant(merchant).await?.with_context(|| format!("there is no merchant {merchant}"))?;
    let room = store.waiting_room(merchant).await?;
    let Some(switch) = args.switch else { return show(&args, room, as_json) };
    let before = room.map_or(USUAL, |room| room.mode);
    let mode = SaleMode {
        switch: switch.into(),
        order: args.order.map_or(before.order, Into::into),
        active_max: args.active.unwrap_or(before.active_max),
        per_minute_max: args.per_minute.unwrap_or(before.per_minute_max),
        active_seconds: args.active_seconds.unwrap_or(before.active_seconds),
        // Those of a sale that is over would be wrong for the next one.
        begins_at: args.begins_at,
        opens_at: args.opens_at,
        ends_at: args.ends_at,
    };
    store.set_sale_mode(merchant, mode, ambient.secret(), ambient.now()).await?;
    show(&args, store.waiting_room(merchant).await?, as_json)
}

fn show(args: &SaleArgs, room: Option<WaitingRoom>, as_json: bool) -> Result<()> {
    let merchant = args.merchant;
    let (mode, taken, admitted) =
        room.map_or((USUAL, 0, 0), |room| (room.mode, room.taken, room.progress.admitted));
    let answer = json!({ "merchant": merchant, "mode": mode, "taken": taken, "admitted": admitted });
    output::answer(as_json, &answer, || {
        let SaleMode { switch, order, active_max, per_minute_max, active_seconds, .. } = mode;
        let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        let [begins, opens, ends] = [mode.begins_at, mode.opens_at, mode.ends_at].map(time);
        format!(
            "{merchant}  sale mode {switch}, {order}\nbegins {begins}, opens {opens}, ends {ends}\nadmits \
             {per_minute_max} a minute at most, {active_max} at a time, for {active_seconds} s each\nplaces taken {taken}, \
             admitted {admitted}\n"
        )
    })
}
