"""AWS calls: what a call does, told by its name, and what it is about, told by its parameters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.decode._aws import action, place
from stream.events import ACTIONS

HERE = "eu-north-1:210987654321"


@pytest.mark.parametrize(("expected", "calls"), [
    ("login", "signin:ConsoleLogin sts:AssumeRole sts:AssumeRoot sso:GetRoleCredentials sso:CreateToken"
              " rolesanywhere:CreateSession cognito-identity:GetCredentialsForIdentity"),
    ("logout", "sso:Logout signin:ExitRole"),
    ("read", "s3:GetObject s3:SelectObjectContent dynamodb:Query dynamodb:BatchGetItem athena:StartQueryExecution"
             " secretsmanager:GetSecretValue ec2:GetPasswordData ec2:DescribeInstanceAttribute ebs:GetSnapshotBlock"
             " iam:GetAccountAuthorizationDetails rds:DownloadDBLogFilePortion"),
    ("list", "s3:ListObjects s3:HeadObject s3:GetBucketPolicy s3:GetObjectTagging ec2:DescribeInstances"
             " sts:GetCallerIdentity dynamodb:DescribeTable iam:ListUsers"),
    ("export", "s3:CopyObject s3:UploadPartCopy ec2:CopySnapshot ec2:CreateSnapshot ec2:CreateImage ec2:ExportImage"
               " ec2:CreateStoreImageTask rds:CreateDBSnapshot rds:StartExportTask logs:CreateExportTask"
               " dynamodb:ExportTableToPointInTime backup:StartCopyJob"),
    ("share", "ec2:ModifySnapshotAttribute ec2:ModifyImageAttribute rds:ModifyDBSnapshotAttribute s3:PutBucketPolicy"
              " lambda:AddPermission20150331v2 ram:CreateResourceShare s3:DeleteBucketPublicAccessBlock"),
    ("delete", "s3:DeleteObject s3:DeleteBucket ec2:TerminateInstances kms:ScheduleKeyDeletion sqs:PurgeQueue"),
    ("admin", "iam:CreateUser iam:DeleteUserPolicy cloudtrail:StopLogging ec2:AuthorizeSecurityGroupIngress"
              " s3:PutBucketVersioning s3:DeleteBucketEncryption kms:PutKeyPolicy ec2:DisableEbsEncryptionByDefault"),
    ("write", "s3:PutObject ec2:RunInstances lambda:Invoke dynamodb:UpdateItem ssm:SendCommand lambda:CreateToken"),
])  # fmt: skip
def test_the_name_of_a_call_says_what_it_does(expected: str, calls: str) -> None:
    done = {}
    for each in calls.split():
        service, name = each.split(":")
        done[each] = action(f"{service}.amazonaws.com", name, False)
    assert done == dict.fromkeys(done, expected)


@given(st.text(max_size=40), st.text(max_size=300), st.booleans())
def test_any_name_is_some_action_and_a_version_behind_it_changes_nothing(source: str, name: str, read: bool) -> None:
    assert action(source, name, read) in ACTIONS
    assert action(source, f"{name}x20150331v2", read) == action(source, f"{name}x", read)


def test_a_call_of_an_unknown_name_reads_where_the_record_says_so() -> None:
    assert [action("x.amazonaws.com", "Frobnicate", read_only) for read_only in (True, False)] == ["read", "write"]
    assert action("s3.amazonaws.com", "CopyObject", True) == "export"  # what the name says is not taken back


@pytest.mark.parametrize(("service", "name", "asked", "resource", "named"), [
    ("s3", "GetObject", {"bucketName": "b", "key": "a/k.csv"}, "s3:b", "a/k.csv"),
    ("s3", "ListObjects", {"bucketName": "b", "prefix": "a/"}, "s3:b", ""),
    ("s3", "GetObject", {"bucketName": f"arn:aws:s3:{HERE}:accesspoint/ap", "key": "k"}, "s3:ap", "k"),
    ("s3", "CopyObject", {"bucketName": "to", "key": "k", "x-amz-copy-source": "/from/a%20b?versionId=1"},
     "s3:from", "a b"),
    ("s3", "UploadPartCopy", {"x-amz-copy-source": f"arn:aws:s3:{HERE}:accesspoint/ap/object/a/k"}, "s3:ap", "a/k"),
    ("s3", "ListBuckets", {"Host": "s3.amazonaws.com"}, "s3:ListBuckets", ""),
    ("s3express", "GetObject", {"bucketName": "b--x-s3", "key": "k"}, "s3:b--x-s3", "k"),
    ("dynamodb", "GetItem", {"tableName": "t", "key": {"id": {"S": "17"}, "at": {"N": "4"}}}, "dynamodb:t", "17/4"),
    ("dynamodb", "GetItem", {"tableName": f"arn:aws:dynamodb:{HERE}:table/t", "key": {"id": "17"}}, "dynamodb:t", "17"),
    ("dynamodb", "Scan", {"tableName": "t"}, "dynamodb:t", "t"),
    ("secretsmanager", "GetSecretValue", {"secretId": f"arn:aws:secretsmanager:{HERE}:secret:db/pw-AbC123"},
     "secretsmanager:db/pw", "db/pw"),
    ("secretsmanager", "GetSecretValue", {"secretId": "db/pw"}, "secretsmanager:db/pw", "db/pw"),
    ("ssm", "GetParameter", {"name": "/shop/db/password"}, "ssm:shop/db", "password"),
    ("ssm", "GetParameter", {"name": f"arn:aws:ssm:{HERE}:parameter/shop/db/host"}, "ssm:shop/db", "host"),
    ("ssm", "GetParametersByPath", {"path": "/shop/db"}, "ssm:shop/db", "shop/db"),
    ("ssm", "GetParametersByPath", {"path": "/"}, "ssm:GetParametersByPath", ""),
    ("ssm", "StartSession", {"target": "i-1"}, "ssm:i-1", "i-1"),
    ("sqs", "ReceiveMessage", {"queueUrl": "https://sqs.eu-north-1.amazonaws.com/2/orders"}, "sqs:orders", "orders"),
    ("ec2", "CopySnapshot", {"snapshotId": "snap-2", "sourceSnapshotId": "snap-1"}, "ec2:snap-1", "snap-1"),
    ("rds", "CreateDBSnapshot", {"dBSnapshotIdentifier": "new", "dBInstanceIdentifier": "db"}, "rds:db", "db"),
    ("rds", "RestoreDBInstanceFromDBSnapshot", {"dBInstanceIdentifier": "new", "dBSnapshotIdentifier": "s"},
     "rds:s", "s"),
    ("rds", "StartExportTask", {"s3BucketName": "b", "sourceArn": f"arn:aws:rds:{HERE}:snapshot:s"}, "rds:s", "s"),
    ("bedrock", "UpdateGuardrail", {"name": "HIDDEN_DUE_TO_SECURITY_REASONS"}, "bedrock:UpdateGuardrail", ""),
    ("ec2", "RunInstances", {"instancesSet": {"items": []}}, "ec2:RunInstances", ""),
    ("ec2", "DescribeVpcs", None, "ec2:DescribeVpcs", ""),
])  # fmt: skip
def test_a_call_is_about_where_its_data_comes_from(
    service: str, name: str, asked: dict[str, Any] | None, resource: str, named: str
) -> None:
    assert place({"requestParameters": asked}, service, name) == (resource, named, 1)


@given(st.permutations(["snapshotId", "sourceSnapshotId", "instanceId", "path"]))
def test_the_order_of_parameters_changes_nothing(names: list[str]) -> None:
    assert place({"requestParameters": {name: name for name in names}}, "ec2", "X").object == "sourceSnapshotId"


def test_a_call_that_names_nothing_is_about_the_resource_it_touched() -> None:
    for spelt in ("ARN", "arn"):
        touched = [{"type": "AWS::KMS::Key"}, {spelt: f"arn:aws:kms:{HERE}:key/1-2"}]
        assert place({"requestParameters": {"a": 1}, "resources": touched}, "kms", "Decrypt")[:2] == ("kms:1-2", "1-2")


@pytest.mark.parametrize(("asked", "records"), [
    ({"bucketName": "b"}, 1),
    ({"names": ["a", "b", "c"]}, 3),
    ({"secretIdList": ["a", "b"]}, 2),
    ({"requestItems": {"t": {"keys": [{"id": "1"}, {"id": "2"}]}, "u": {"keys": [{"id": "3"}]}}}, 3),
    ({"requestItems": [{"tableName": "t", "keys": [{"id": "1"}, {"id": "2"}]}]}, 2),
    ({"requestItems": [{"statement": "s"}, {"statement": "s"}]}, 2),
    ({"requestItems": 7, "names": "a"}, 1),
])  # fmt: skip
def test_records_are_as_many_as_the_call_asks_for(asked: dict[str, Any], records: int) -> None:
    assert (
        place({"requestParameters": asked, "resources": [{"ARN": "arn:aws:x:::table/t"}]}, "x", "X").records == records
    )
