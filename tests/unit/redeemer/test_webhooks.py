"""Who is told of a redemption, how often, and until when."""

from __future__ import annotations

from modelchain import ModelChain, winner
from redeeming import Desk
from shoal.money.ticket import uint256
from shoal.redeemer.events import Posted
from shoal.redeemer.intent import redeem_id
from shoal.redeemer.rules import Rules
from shoal.wire import words

TICKET = winner(1)
NAME = redeem_id(TICKET.ticket_hash)
WINNER = words.Winner(TICKET, "llm")


def test_a_redemption_is_told_to_every_webhook_once() -> None:
    made = Desk(ModelChain(), hooks=("one", "two"))
    made.see_through(WINNER)
    made.restart()
    made.tick(3)
    assert sorted(post.hook for post in made.posts) == ["one", "two"]
    notice = made.posts[0].notice
    assert (notice.pipeline, notice.wei, notice.id) == ("llm", uint256(TICKET.face_wei), NAME)


def test_a_webhook_that_fails_is_tried_again_and_holds_up_nobody() -> None:
    made = Desk(ModelChain(), hooks=("bad", "good"))
    made.post_answer = lambda post: Posted(post.notice.id, post.hook, "no" if post.hook == "bad" else "")
    made.see_through(WINNER)
    made.tick(10)
    tries = [post.hook for post in made.posts]
    assert tries.count("good") == 1
    assert 3 <= tries.count("bad") <= 6, "twice as long between any two"
    made.restart()
    made.post_answer = lambda post: Posted(post.notice.id, post.hook)
    made.tick()
    assert made.machine.untold == {}
    assert made.alarms == []


def test_a_webhook_is_given_up_after_a_day_or_at_once_if_it_is_gone() -> None:
    made = Desk(ModelChain(), hooks=("bad",))
    made.post_answer = lambda post: Posted(post.notice.id, post.hook, "no")
    made.see_through(WINNER)
    made.tick(200, ms=600_000)
    assert made.machine.untold == {}
    assert made.alarms == [f"webhook bad is not told of {NAME}: no"]
    gone = Desk(ModelChain(), hooks=("bad",))
    gone.post_answer = lambda post: Posted(post.notice.id, post.hook, "it answers 404", gone=True)
    gone.see_through(WINNER)
    assert len(gone.posts) == 1
    assert gone.machine.given_up == 1


def test_a_webhook_that_is_not_in_the_settings_any_more_is_forgotten() -> None:
    made = Desk(ModelChain(), hooks=("old",))
    made.post_answer = lambda post: Posted(post.notice.id, post.hook, "no")
    made.see_through(WINNER)
    made.hooks = ("new",)
    made.restart()
    assert made.machine.untold == {}


def test_too_many_untold_notices_are_not_added_to_and_somebody_hears_of_it() -> None:
    made = Desk(ModelChain(), Rules(notices_max=1), hooks=("bad",))
    made.post_answer = lambda post: Posted(post.notice.id, post.hook, "no")
    other = winner(2)
    made.hear(WINNER)
    made.hear(words.Winner(other, "llm"))
    made.tick()
    made.tick(8, mine=1)
    assert list(made.machine.untold) in ([NAME], [redeem_id(other.ticket_hash)])
    assert len([alarm for alarm in made.alarms if "1 notices wait already" in alarm]) == 1
