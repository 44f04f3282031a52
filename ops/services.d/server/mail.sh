# shellcheck shell=bash
# A mail sink that speaks SMTP (aiosmtpd from PyPI) and keeps each message as a file of a Maildir:
# `new/` holds one file a message, with the envelope in X-MailFrom and X-RcptTo. Sends nothing on.

AIOSMTPD=aiosmtpd==1.4.6
MAIL_MAX_BYTES=33554432

mail_needs() { "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || echo "- python3-venv"; }
mail_ports() { echo "smtp 1025 127.0.0.1"; }
mail_env() {
  echo "ORDERWORKS_TEST_SMTP_URL=smtp://127.0.0.1:$(port smtp)"
  echo "ORDERWORKS_TEST_MAIL_FOLDER=$DATA/mail/messages"
}
mail_address() { echo "$(port smtp) smtp://127.0.0.1:$(port smtp)"; }
mail_ready() { probe smtp "$(port smtp)"; }

mail_install() {
  local venv=$DATA/mail-venv log=$DATA/log/install.log
  [[ $(cat "$venv/complete" 2>/dev/null) != "$AIOSMTPD" ]] || return 0
  say "installing $AIOSMTPD"
  rm -rf "$venv"
  { "$PYTHON" -m venv "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check "$AIOSMTPD"; } >>"$log" 2>&1 ||
    die "pip cannot bring $AIOSMTPD: see $log"
  echo "$AIOSMTPD" >"$venv/complete"
}

mail_start() {
  local user
  user=$(service_user mail)
  own_dir "$user" "$DATA/mail"
  launch mail "$user" env PYTHONUNBUFFERED=1 "$DATA/mail-venv/bin/python" -m aiosmtpd -n \
    -l "127.0.0.1:$(port smtp)" -s "$MAIL_MAX_BYTES" -c aiosmtpd.handlers.Mailbox "$DATA/mail/messages"
}
