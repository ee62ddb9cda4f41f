"""A page that shows a card, as a kernel sees it: JupyterLab's messages on the comm and the kernel's answers."""

from __future__ import annotations

from typing import Any

from cells import Kernel
from running import PATIENCE

NAME = "00112233445566aa"


class Page:
    """A page at a kernel. Open it before the card, as it must hear of the card."""

    def __init__(self, kernel: Kernel) -> None:
        assert kernel.manager
        self._client = kernel.manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=PATIENCE)
        self._model = ""
        self._last_id = 0
        self.subshell: str | None = None
        self.view: dict[str, Any] = {}

    # ---------------------------------------------------------------- subshells
    @property
    def may_have_a_subshell(self) -> bool:
        """Whether the kernel supports subshells. Asks as JupyterLab does."""
        return "kernel subshells" in self._control("kernel_info_request").get("supported_features", [])

    def get_a_subshell(self) -> None:
        """Create a subshell, and send all later messages to it."""
        self.subshell = self._control("create_subshell_request")["subshell_id"]

    def reload(self) -> None:
        """Replace the subshell, as a reloaded page does."""
        self._control("delete_subshell_request", subshell_id=self.subshell)
        self.get_a_subshell()

    def _control(self, kind: str, **content: Any) -> dict[str, Any]:
        request = self._client.session.msg(kind, content)
        self._client.control_channel.send(request)
        while True:
            reply = self._client.get_control_msg(timeout=PATIENCE)
            if reply["parent_header"]["msg_id"] == request["header"]["msg_id"]:
                found: dict[str, Any] = reply["content"]
                return found

    # ---------------------------------------------------------------- the card
    def find_card(self) -> None:
        """Wait until the kernel has made a card."""
        while not self._model:
            message = self._next()
            if message["msg_type"] == "comm_open" and "view" in message["content"]["data"].get("state", {}):
                self._model = message["content"]["comm_id"]
                self.view = message["content"]["data"]["state"]["view"]

    def say(self, op: str, **arguments: Any) -> int:
        """Send a request to the card. Returns the request's number."""
        self._last_id += 1
        content = {"page": NAME, "id": self._last_id, "op": op, **arguments}
        data = {"method": "custom", "content": content}
        message = self._client.session.msg("comm_msg", {"comm_id": self._model, "data": data})
        message["header"]["subshell_id"] = self.subshell
        self._client.shell_channel.send(message)
        return self._last_id

    def answer(self, number: int) -> dict[str, Any]:
        """Wait for the answer to a request."""
        while True:
            content = self._said(self._next())
            if content.get("re") == number:
                return content

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Send a request to the card and wait for its answer."""
        answer = self.answer(self.say(op, **arguments))
        assert "ok" in answer, answer
        found: dict[str, Any] = answer["ok"]
        return found

    def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = self._client.get_iopub_msg(timeout=PATIENCE)
        return message

    def _said(self, message: dict[str, Any]) -> dict[str, Any]:
        """The content of a message from the card; empty for other messages."""
        if message["msg_type"] != "comm_msg" or message["content"]["comm_id"] != self._model:
            return {}
        data = message["content"]["data"]
        if data["method"] == "update":
            self.view = data["state"].get("view", self.view)
        content: dict[str, Any] = data.get("content", {})
        return content

    def close(self) -> None:
        """Close the connection."""
        self._client.stop_channels()
