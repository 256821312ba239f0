from pathlib import Path

import pytest

from recray.data import sources
from recray.errors import DataError

HEAD = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab\n"
)
LATE = HEAD + "0,20,20220422,1200,1650600000000,0,0,0,0,0,1,0,0,30000,0,0,0,0,1\n"
EARLY = (
    HEAD
    + "0,10,20220408,400,1649362841301,1,1,0,0,0,0,1,45000,30000,0,0,0,0,1\n"
    + "1,20,20220408,400,1649362841301,1,0,0,0,0,0,0,7500,30000,0,0,0,0,1\n"
)
VIDEOS = (
    "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height,music_id,music_type,tag\n"
    '10,1,NORMAL,2022-03-01,ShortImport,1.0,30000.0,720,1280,3,9.0,"12,65"\n'
    "20,2,NORMAL,2022-03-02,ShortImport,1.0,30000.0,720,1280,3,9.0,\n"
)


def folder_of(path: Path) -> Path:
    for name, text in {
        "log_standard_4_08_to_4_21_pure": EARLY,
        "log_standard_4_22_to_5_08_pure": LATE,
        "log_random_4_22_to_5_08_pure": LATE,
        "video_features_basic_pure": VIDEOS,
        "user_features_pure": "user_id,user_active_degree\n0,full_active\n1,high_active\n",
    }.items():
        (path / f"{name}.csv").write_text(text)
    return path


def test_each_flag_of_a_log_row_becomes_an_event_in_file_order(tmp_path: Path) -> None:
    raw = sources.read("kuairand", folder_of(tmp_path), tmp_path)
    events = raw.tables["events"]
    actions = list(
        zip(events["user_id"].to_pylist(), events["content_id"].to_pylist(), events["action"].to_pylist(), strict=True)
    )
    assert actions == [
        ("0", "10", "impression"),
        ("0", "10", "play"),
        ("0", "10", "like"),
        ("1", "20", "impression"),
        ("1", "20", "play"),
        ("0", "20", "impression"),
        ("0", "20", "hide"),
    ]
    assert events["progress"].to_pylist() == [None, 1.0, None, None, 0.25, None, None]
    assert events["watch_s"].to_pylist()[1] == 45
    ids = events["event_id"].to_pylist()
    assert ids == sorted(set(ids))
    video = raw.tables["titles"].to_pylist()[0]
    assert (video["name"], video["genres"], video["duration_min"]) == ("video 10", ["tag 12", "tag 65"], 0.5)
    assert raw.tables["titles"]["genres"].to_pylist()[1] == []


def test_a_directory_without_logs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no log_standard\*.csv"):
        sources.read("kuairand", tmp_path, tmp_path)
