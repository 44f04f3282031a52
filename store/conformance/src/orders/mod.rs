//! Conformance suite of [`store::OrderStore`].

pub mod admission;
pub mod audit;
pub mod catalog;
pub mod customers;
pub mod endpoints;
pub mod erasures;
pub mod failed_refunds;
mod fixture;
pub mod listing;
pub mod order_records;
pub mod outbox;
pub mod place_order;
pub mod product_lists;
pub mod random_ops;
pub mod records;
pub mod refunds;
pub mod reservations;
pub mod stock;
pub mod tenants;
pub mod tokens;
pub mod transitions;

use fixture::OrdersFixture;

/// Expands to the tests of an order store; see [`crate`].
#[macro_export]
macro_rules! order_store_suite {
    ($open:path) => {
        $crate::conformance_cases! { $open, orders,
            admission: [
                the_load_counts_open_orders_and_their_ends,
                a_stuck_order_is_no_backlog,
                an_order_that_others_overtook_is_no_backlog,
                a_message_set_aside_is_no_backlog,
                an_accepted_order_is_known_by_its_key,
                places_are_numbered_without_gaps,
                a_room_that_was_off_begins_with_another_key,
                one_of_two_steps_counts,
            ],
            audit: [
                stale_orders_expire_oldest_first,
                money_that_comes_after_expiry_goes_back_once,
                expiry_and_payment_have_one_winner,
                all_orders_of_all_merchants_are_scanned,
                changes_are_found_by_their_time,
                the_money_of_an_order_is_told,
                stock_is_counted_beside_what_open_orders_hold,
                nothing_is_repaired_that_is_right,
                an_endpoint_tells_since_when_it_is_so,
                a_mark_is_remembered,
                a_settlement_is_remembered_with_its_order,
            ],
            catalog: [
                a_product_is_created_then_replaced,
                inventory_is_set_and_told,
                inventory_never_falls_below_reserved,
                low_stock_is_told_when_crossed,
                low_stock_is_told_by_an_order,
                categories_count_their_products,
            ],
            product_lists: [
                products_are_searched_by_words,
                a_renamed_product_is_found_by_its_new_name_only,
                a_frequent_word_finds_the_same_as_a_rare_one,
                products_are_filtered,
                products_are_paged_by_sku,
                products_are_paged_by_price,
                pages_by_price_stay_right_while_products_change,
                facets_count_what_a_filter_finds,
                facets_are_bounded,
            ],
            customers: [
                a_registration_counts_once_its_address_is_proven,
                a_known_address_gets_no_token,
                addresses_are_apart_by_merchant,
                a_repeated_key_compares_no_password,
                requests_of_an_address_are_bounded,
                mails_to_an_address_keep_their_distance,
                a_reset_sets_the_password_once,
                requests_expire,
                many_at_once_open_one_account,
                a_deleted_account_leaves_nothing_of_its_own,
                a_mail_to_a_customer_is_recorded_once,
            ],
            erasures: [
                erasing_a_customer_keeps_the_money_and_nothing_personal,
                open_orders_keep_their_customer,
                a_foreign_or_unknown_customer_is_not_erased,
            ],
            endpoints: [
                an_endpoint_is_changed_part_by_part,
                a_former_secret_is_valid_until_its_time,
                an_endpoint_that_fails_for_days_is_disabled_and_told_of,
                a_finding_about_an_earlier_url_changes_nothing,
                endpoints_are_limited_per_merchant,
                endpoints_are_limited_under_concurrency,
                endpoints_are_paged_newest_first,
                subscribers_are_enabled_and_want_the_kind,
                attempts_are_recorded_once_and_outlive_their_endpoint,
                delivered_means_any_2xx,
            ],
            failed_refunds: [
                a_failed_refund_is_told_and_may_be_asked_for_again,
                cancelling_asks_back_what_a_failed_refund_left,
                a_refund_that_fails_after_the_cancellation_is_asked_for_again_once,
                a_late_capture_whose_refund_failed_is_asked_back_again,
                money_that_moved_counts_after_a_failure,
                a_refund_of_the_whole_price_holds_the_shipment,
                a_refund_that_fails_after_the_order_was_refunded_frees_no_stock,
                a_shipment_and_a_refund_of_the_whole_price_have_one_winner,
                each_state_of_a_dispute_is_told_once,
            ],
            listing: [
                orders_are_paged_newest_first,
                orders_are_filtered_by_status,
                orders_are_filtered_by_customer,
                events_are_paged_newest_first,
                order_events_follow_a_sequence,
            ],
            order_records: [
                records_of_many_orders_are_those_of_each,
                records_of_many_rows_are_all_or_refused,
                stored_orders_are_told_from_unknown_ones,
                states_of_many_orders_are_read_at_once,
            ],
            transitions: [
                a_paid_order_is_told,
                a_failed_payment_is_told_and_frees_stock,
                a_fulfilled_order_leaves_stock,
                a_cancelled_order_frees_stock,
                the_whole_table_of_transitions,
                unknown_orders_are_not_found,
                paying_a_cancelled_order_sends_the_money_back_once,
                cancelling_a_paid_order_sends_the_money_back_once,
                concurrent_transitions_leave_no_gap_and_one_winner,
                a_debit_under_way_does_not_expire_with_the_others,
            ],
            outbox: [
                messages_come_oldest_first,
                a_lease_keeps_others_away_until_it_ends,
                a_relay_gets_its_own_again,
                an_order_is_never_split_between_relays,
                sent_messages_are_gone,
                a_crash_hands_out_again,
                arrivals_are_hinted,
                the_backlog_counts_what_is_unsent,
                a_message_set_aside_holds_up_its_subject_only,
                two_relays_drain_each_order_in_sequence,
                a_command_is_submitted_once,
                a_command_submitted_at_once_is_stored_once,
                a_delivery_is_requested_again_once_and_waits_for_no_order,
            ],
            place_order: [
                placing_writes_everything,
                a_product_changed_meanwhile_leaves_placed_orders_as_they_were,
                a_replay_answers_to_the_byte,
                a_key_used_for_another_request_is_refused,
                keys_are_scoped_by_merchant,
                the_same_key_at_once_places_one_order,
                refusals_name_every_line_and_write_nothing,
                a_total_too_large_is_refused,
                another_total_than_the_expected_one_is_refused,
                adjustments_are_kept_with_the_order_and_in_its_total,
                adjustments_of_other_prices_are_refused,
                a_repetition_is_known_before_it_is_made,
                expired_keys_may_be_used_again,
                a_clock_that_is_ahead_deletes_no_key_of_the_last_day,
            ],
            records: [
                merchants_and_keys_are_ensured,
                merchants_are_listed_by_id,
                a_key_is_listed_noted_and_revoked,
                a_merchant_is_told_of_card_testing_once_an_hour,
                a_mail_is_recorded_once_per_template,
                the_store_answers_a_ping,
            ],
            refunds: [
                a_refund_is_asked_for_once,
                another_amount_under_the_same_id_is_refused,
                requested_refunds_count_against_the_total,
                only_paid_and_fulfilled_orders_are_refunded,
                a_free_order_is_paid_and_has_nothing_to_refund,
                partial_refunds_add_up_to_refunded,
                a_recorded_refund_changes_nothing_again,
                refunding_a_paid_order_frees_its_stock,
                a_cancelled_order_stays_cancelled,
                concurrent_requests_stay_within_the_total,
            ],
            reservations: [
                reserved_units_are_not_sold_to_others,
                an_order_takes_over_what_its_cart_has_reserved,
                a_rejected_order_leaves_the_reservation,
                a_reservation_is_replaced_and_keeps_its_end,
                reservations_end,
                carts_race_for_the_last_units,
                one_cart_at_once_reserves_once,
                random_reservations_never_oversell,
                the_audit_counts_what_carts_have_reserved,
                a_reservation_tells_nothing_and_its_order_does,
                carts_are_the_merchants_own,
                choices_for_the_checkout_are_kept,
            ],
            stock: [
                three_hundred_buyers_share_the_last_fifty,
                orders_over_the_same_products_never_lock_each_other_out,
                an_order_takes_all_its_lines_or_none,
            ],
            tenants: [
                a_foreign_merchant_reads_nothing,
                a_foreign_merchant_changes_nothing,
                a_foreign_product_is_unknown,
                endpoints_are_the_merchants_own,
            ],
            tokens: [
                a_token_is_replaced_and_revoked,
                a_token_outlives_transitions,
            ],
            random_ops: [
                random_operations_keep_reservations_and_sequences,
                concurrent_random_operations_keep_reservations_and_sequences,
            ],
        }
    };
}
