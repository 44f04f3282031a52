//! Encoding of [`Timestamp`] as `timestamptz`.

use base::Timestamp;
use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef, types::Oid},
};

/// Oid of `timestamptz` in `pg_type`.
const OID: Oid = Oid(1184);
/// Oid of `timestamptz[]`.
const ARRAY_OID: Oid = Oid(1185);
/// 2000-01-01T00:00:00Z, the epoch of the wire format, in microseconds since the Unix epoch.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A point in time, to the microsecond.
#[derive(Clone, Copy)]
pub(super) struct Moment(pub(super) Timestamp);

impl Type<Postgres> for Moment {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(OID)
    }
}

impl PgHasArrayType for Moment {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(ARRAY_OID)
    }
}

impl Encode<'_, Postgres> for Moment {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        // The server's range is wider than that of `Timestamp`.
        let micros = self.0.as_microsecond().saturating_sub(EPOCH_MICROS);
        Encode::<Postgres>::encode_by_ref(&micros, buffer)
    }
}

impl Decode<'_, Postgres> for Moment {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            return Err("timestamptz must be sent in the binary format".into());
        }
        let micros: i64 = Decode::<Postgres>::decode(value)?;
        let micros = micros.checked_add(EPOCH_MICROS).ok_or("timestamptz is infinite")?;
        Ok(Self(Timestamp::from_microsecond(micros)?))
    }
}
