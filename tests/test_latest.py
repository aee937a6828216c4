"""Jobs that a window waits for."""

import gc
from weakref import ref

from qtpy.QtCore import QThreadPool

from napari_kemp.plugin.latest import Latest


class Window:
    def __init__(self):
        self.latest = Latest(self.show, self.show)

    def show(self, answer):
        pass


def test_a_window_that_is_closed_meanwhile_is_let_go(qtbot):
    def job(abandoned):
        return "answer"

    window, jobs = Window(), [job]
    gone = ref(window), ref(job)
    del job
    window.latest.ask(jobs.pop())
    window.latest.drop()
    del window
    QThreadPool.globalInstance().waitForDone()
    gc.collect()
    assert [each() for each in gone] == [None, None]
