"""A card shows the truth after pages and kernels come and go."""

from __future__ import annotations

from playwright.sync_api import expect

from browser.person import Card, Notebook, Person
from browser.slow import LARGE, hurry
from browser.test_sending import RECEIVE_SLOWLY, SEND_LARGE, both_wait_until, in_the_middle

RESUME = "import nbferry\nnbferry.resume()"


def two(person: Person) -> tuple[Notebook, Notebook]:
    """A notebook with a large file, and one with a slow disk."""
    sender = person.open(SEND_LARGE, RESUME, name="sender", files={"data.bin": LARGE})
    return sender, person.open(RECEIVE_SLOWLY, RESUME, name="receiver", page=1)


def ends_well(receiver: Notebook, cards: tuple[Card, Card]) -> None:
    """Wait for the transfer's end."""
    hurry(receiver)
    both_wait_until(cards, "done")
    assert (receiver.folder / "data.bin").stat().st_size == LARGE


def test_a_reload_during_a_transfer(person: Person) -> None:
    """After a reload the cards show the current state, and their buttons act."""
    sender, receiver = two(person)
    in_the_middle(sender, receiver)
    sender.reload()
    receiver.reload()
    cards = sender.card(), receiver.card()
    for card in cards:
        card.is_in_the_middle()
    cards[1].click("Pause")
    both_wait_until(cards, "paused")
    cards[1].click("Resume")
    ends_well(receiver, cards)


def test_a_killed_receiver(person: Person) -> None:
    """After the kernel's restart ``resume`` shows a card of the unfinished transfer and completes it."""
    sender, receiver = two(person)
    sending, receiving = in_the_middle(sender, receiver)
    receiving.has_durable_bytes()
    receiver.kill_kernel()
    ends_well(receiver, (sending, receiver.show(1)))


def test_a_killed_sender(person: Person) -> None:
    """After the kernel's restart ``resume`` shows a card of the unfinished transfer, and the receiver only waits."""
    sender, receiver = two(person)
    _, receiving = in_the_middle(sender, receiver)
    sender.kill_kernel()
    ends_well(receiver, (sender.show(1), receiving))


def test_a_dead_kernel(person: Person) -> None:
    """A card without a kernel says so, keeps its content, and only offers to copy the code."""
    notebook = person.visit(person.notebook(SEND_LARGE, files={"data.bin": LARGE}))
    card = notebook.show()
    assert card.code
    notebook.kill_kernel()
    notebook.minutes_later()
    expect(card.root).to_contain_text("The kernel does not answer.")
    card.waits_until("waiting")
    expect(card.root.get_by_role("button").filter(visible=True)).to_have_text("Copy")


def test_two_pages(person: Person) -> None:
    """The same notebook in two pages: both cards are right, and each shows the other's actions."""
    sender, receiver = two(person)
    sending, receiving = in_the_middle(sender, receiver)
    receiver.save()
    second = person.visit(receiver.path).card()
    second.is_in_the_middle()
    second.click("Pause")
    both_wait_until((receiving, second), "paused")
    receiving.click("Resume")
    hurry(receiver)
    for card in (sending, receiving, second):
        card.waits_until("done")


def test_two_views(person: Person) -> None:
    """A transfer that is shown twice in a notebook has two cards, and both are right."""
    sender = person.open(SEND_LARGE, "sending", files={"data.bin": LARGE})
    cards = sender.show(), sender.show(1)
    assert cards[0].code == cards[1].code
    cards[0].click("Cancel")
    both_wait_until(cards, "cancelled")
