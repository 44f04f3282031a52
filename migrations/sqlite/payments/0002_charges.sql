-- The provider's id of a charge, recorded before the charge can move money: only a recorded one is confirmed, so a
-- payment has one charge. Locks nothing: the table is new.
--
-- The primary key is what makes a second charge impossible, whatever the statements say.
CREATE TABLE payment_charges (
    payment_id  TEXT    NOT NULL PRIMARY KEY,
    epoch       INTEGER NOT NULL,
    reference   TEXT    NOT NULL,
    recorded_at INTEGER NOT NULL,
    FOREIGN KEY (payment_id, epoch) REFERENCES payment_attempts (payment_id, epoch)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER payment_charges_no_update BEFORE UPDATE ON payment_charges
BEGIN SELECT RAISE(ABORT, 'payment_charges is append-only'); END;
CREATE TRIGGER payment_charges_no_delete BEFORE DELETE ON payment_charges
BEGIN SELECT RAISE(ABORT, 'payment_charges is append-only'); END;
