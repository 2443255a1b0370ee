"""Keys for what may have several lines."""

from collections.abc import Callable

from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent


def multiline_keys(is_complete: Callable[[str], bool]) -> KeyBindings:
    """Enter sends what is complete and starts another line of what is not; on an empty line it sends in any case.

    Esc Enter always starts another line.
    """
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        is_forced = "\n" in buffer.text and not buffer.document.current_line.strip()
        if is_forced or is_complete(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.newline(copy_margin=False)

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    return keys
